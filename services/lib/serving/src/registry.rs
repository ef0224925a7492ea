//! Models by name: loaded and warm before they are put in service, swapped without losing a request.
//!
//! A request holds the model it was given until it is answered. The model that a load replaced is kept, so that a rollback is a
//! swap and no load; one that was unloaded, or replaced twice, ends with the last of its requests. Readiness follows: ready while
//! there is a default model.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    path::Path,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use saga_chassis::{
    ModelConfig, Readiness,
    status::{failed_precondition, internal, invalid_argument, not_found},
};
use saga_proto::{model::v1::LoadedModel, r#type::v1::ModelVersion};
use tokio::sync::Mutex;
use tonic::Status;

/// Longest name of a model, in bytes.
const MAX_NAME: usize = 64;

/// How a service makes a model from a directory.
pub trait Loader: Send + Sync + 'static {
    /// A handle that any request may use at the same time.
    type Model: Send + Sync + 'static;

    /// Identifies the weights in a directory; may block.
    ///
    /// # Errors
    /// Where there are no weights.
    fn revision(directory: &Path) -> Result<String, LoadError>;

    /// Whether the files of a directory are those that it was finished with; may block.
    ///
    /// # Errors
    /// The first file that is not.
    fn verify(directory: &Path) -> Result<(), LoadError>;

    /// Whether a model may be expected to answer; one that is not is loaded anew where it is asked for again.
    fn is_usable(model: &Self::Model) -> bool;

    /// A model takes its place before requests, or leaves it and is kept.
    fn set_in_service(_model: &Self::Model, _serves: bool) {}

    /// Loads and warms up. The answer's `name`, `revision`, `directory` and `is_default` are filled in by the registry.
    fn load(
        &self,
        directory: &Path,
    ) -> impl Future<Output = Result<(Self::Model, LoadedModel), LoadError>> + Send;
}

/// Why a directory gave no model.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct LoadError(pub String);

/// A model in service.
#[derive(Debug)]
pub struct Held<M> {
    /// The model itself.
    pub model: M,
    /// What ListModels tells of it; `is_default` is not kept here.
    pub info: LoadedModel,
}

impl<M> Held<M> {
    /// Which weights answer.
    pub fn version(&self) -> ModelVersion {
        self.info.version.clone().unwrap_or_default()
    }
}

/// What one name stands for.
struct Slot<M> {
    current: Arc<Held<M>>,
    /// Served under the name before the last load or rollback.
    previous: Option<Arc<Held<M>>>,
}

struct State<M> {
    models: BTreeMap<String, Slot<M>>,
    default: Option<String>,
}

impl<M> State<M> {
    /// What ListModels tells of the model called `name`.
    fn info(&self, name: &str) -> Option<LoadedModel> {
        let slot = self.models.get(name)?;
        Some(LoadedModel {
            is_default: self.default.as_deref() == Some(name),
            previous: slot.previous.as_ref().map(|held| held.version()),
            ..slot.current.info.clone()
        })
    }
}

/// The models of one service.
pub struct Registry<L: Loader> {
    loader: L,
    readiness: Readiness,
    /// Models are loaded one after another: two at a time would need twice the memory.
    loading: Mutex<()>,
    state: RwLock<State<L::Model>>,
}

impl<L: Loader> Registry<L> {
    /// Without models, and not ready.
    pub fn new(loader: L, readiness: Readiness) -> Self {
        let state = State {
            models: BTreeMap::new(),
            default: None,
        };
        Self {
            loader,
            readiness,
            loading: Mutex::new(()),
            state: RwLock::new(state),
        }
    }

    /// The model called `name`, or the default one where it is empty.
    ///
    /// # Errors
    /// FAILED_PRECONDITION with MODEL_NOT_LOADED where there is none; NOT_FOUND with MODEL_UNKNOWN for another name.
    pub fn get(&self, name: &str) -> Result<Arc<Held<L::Model>>, Status> {
        let state = self.read();
        let wanted = if name.is_empty() {
            state.default.as_deref()
        } else {
            Some(name)
        };
        if let Some(slot) = wanted.and_then(|name| state.models.get(name)) {
            return Ok(Arc::clone(&slot.current));
        }
        if state.models.is_empty() {
            let message = "no model is loaded; call saga.model.v1.ModelService/LoadModel or start with --model DIR";
            return Err(failed_precondition("MODEL_NOT_LOADED", message));
        }
        let loaded: Vec<_> = state.models.keys().map(String::as_str).collect();
        Err(not_found(
            "MODEL_UNKNOWN",
            format!(
                "no model is called {name:?}; loaded are: {}",
                loaded.join(", ")
            ),
        ))
    }

    /// Puts the model that the configuration names in service; none where it names no directory.
    ///
    /// # Errors
    /// A directory that gives no model.
    pub async fn load_configured(&self, config: &ModelConfig) -> Result<(), LoadError> {
        if config.directory.as_os_str().is_empty() {
            return Ok(());
        }
        let loaded = self.load(&config.name, &config.directory, true).await;
        loaded.map(drop).map_err(|status| {
            LoadError(format!(
                "the model of `model.directory` does not load: {}",
                status.message()
            ))
        })
    }

    /// Puts the model of `directory` in service under `name`.
    ///
    /// # Errors
    /// INVALID_ARGUMENT on `name` or `directory`.
    pub async fn load(
        &self,
        name: &str,
        directory: &Path,
        make_default: bool,
    ) -> Result<LoadedModel, Status> {
        self.load_revision(name, directory, make_default, None)
            .await
    }

    /// Puts the weights of `revision` in service under `name` and as the default: at once where they serve or are kept for a
    /// rollback, else from `directory`.
    ///
    /// # Errors
    /// As [`Registry::load`]; FAILED_PRECONDITION with MODEL_DAMAGED where the directory holds other weights, or
    /// other files than it was finished with. What serves stays.
    pub async fn adopt(
        &self,
        name: &str,
        directory: &Path,
        revision: &str,
    ) -> Result<LoadedModel, Status> {
        let kept = {
            let state = self.read();
            let slot = state.models.get(name);
            let previous = slot.and_then(|slot| slot.previous.as_ref());
            let current = slot.map(|slot| &slot.current);
            previous.is_some_and(|held| is_of(held, directory, revision))
                && !current.is_some_and(|held| is_of(held, directory, revision))
        };
        if kept && let Ok(info) = self.rollback(name) {
            return Ok(info);
        }
        self.load_revision(name, directory, true, Some(revision))
            .await
    }

    async fn load_revision(
        &self,
        name: &str,
        directory: &Path,
        make_default: bool,
        expected: Option<&str>,
    ) -> Result<LoadedModel, Status> {
        check_name(name)?;
        let refused = |error: LoadError| {
            invalid_argument(
                "directory",
                format!("{} is not usable: {error}", directory.display()),
            )
        };
        let _one_at_a_time = self.loading.lock().await;
        let revision = blocking(directory, L::revision).await?.map_err(refused)?;
        if let Some(expected) = expected
            && expected != revision
        {
            let message = format!(
                "{} holds weights of revision {revision}, {expected} were registered; restore them, or promote another version",
                directory.display()
            );
            return Err(failed_precondition("MODEL_DAMAGED", message));
        }
        if !self.has(name, directory, &revision) {
            if expected.is_some() {
                let damaged = |error: LoadError| {
                    let message = format!(
                        "{}: {error}; restore it, or promote another version",
                        directory.display()
                    );
                    failed_precondition("MODEL_DAMAGED", message)
                };
                blocking(directory, L::verify).await?.map_err(damaged)?;
            }
            let (model, mut info) = self.loader.load(directory).await.map_err(refused)?;
            info.directory = directory.display().to_string();
            info.version = Some(ModelVersion {
                name: name.to_owned(),
                revision,
                ..info.version.unwrap_or_default()
            });
            tracing::info!(
                name,
                directory = info.directory,
                precision = info.precision,
                device = info.device,
                "model in service"
            );
            self.put(name, Held { model, info });
        }
        let mut state = self.write();
        if make_default || state.default.is_none() {
            state.default = Some(name.to_owned());
        }
        let info = state.info(name);
        drop(state);
        self.readiness.set_ready(true);
        info.ok_or_else(|| internal("MODEL_LOST", "the model was unloaded while it was loaded"))
    }

    fn put(&self, name: &str, held: Held<L::Model>) {
        let current = Arc::new(held);
        match self.write().models.entry(name.to_owned()) {
            Entry::Occupied(mut slot) => Self::swap(slot.get_mut(), current),
            Entry::Vacant(slot) => {
                let previous = None;
                slot.insert(Slot { current, previous });
            }
        }
    }

    fn swap(slot: &mut Slot<L::Model>, held: Arc<Held<L::Model>>) {
        L::set_in_service(&held.model, true);
        L::set_in_service(&slot.current.model, false);
        slot.previous = Some(std::mem::replace(&mut slot.current, held));
    }

    /// Puts the model back in service that was called `name` before the last load; the one it replaces is kept in its place.
    ///
    /// # Errors
    /// As [`Registry::unload`]; FAILED_PRECONDITION with NO_PREVIOUS_MODEL where none is kept that can answer.
    pub fn rollback(&self, name: &str) -> Result<LoadedModel, Status> {
        self.named(name)?;
        let mut state = self.write();
        let slot = state.models.get_mut(name);
        let kept = slot.and_then(|slot| Some((slot.previous.take()?, slot)));
        let Some((previous, slot)) = kept.filter(|(held, _)| L::is_usable(&held.model)) else {
            let message = format!("no earlier model is kept for {name}; load its directory");
            return Err(failed_precondition("NO_PREVIOUS_MODEL", message));
        };
        Self::swap(slot, previous);
        let info = state.info(name).unwrap_or_default();
        drop(state);
        tracing::info!(name, directory = info.directory, "rolled back");
        self.readiness.set_ready(true);
        Ok(info)
    }

    /// The models in service, by name.
    pub fn list(&self) -> Vec<LoadedModel> {
        let state = self.read();
        let names = state.models.keys();
        names.filter_map(|name| state.info(name)).collect()
    }

    /// The names of the models in service.
    pub fn names(&self) -> Vec<String> {
        self.read().models.keys().cloned().collect()
    }

    /// Takes a model out of service.
    ///
    /// # Errors
    /// As [`Registry::get`]; FAILED_PRECONDITION for the default model while there are others.
    pub fn unload(&self, name: &str) -> Result<(), Status> {
        self.named(name)?;
        let mut state = self.write();
        if state.default.as_deref() == Some(name) {
            if state.models.len() > 1 {
                let message = format!(
                    "{name} is the default model; load another one with make_default first"
                );
                return Err(failed_precondition("MODEL_IS_DEFAULT", message));
            }
            state.default = None;
            self.readiness.set_ready(false);
        }
        state.models.remove(name);
        Ok(())
    }

    /// The model called `name`, and no other.
    fn named(&self, name: &str) -> Result<Arc<Held<L::Model>>, Status> {
        if name.is_empty() {
            return Err(invalid_argument(
                "name",
                "is empty; ListModels tells the names",
            ));
        }
        self.get(name)
    }

    fn has(&self, name: &str, directory: &Path, revision: &str) -> bool {
        self.read().models.get(name).is_some_and(|slot| {
            is_of(&slot.current, directory, revision) && L::is_usable(&slot.current.model)
        })
    }

    fn read(&self) -> RwLockReadGuard<'_, State<L::Model>> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State<L::Model>> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a model is that of these weights in this directory.
fn is_of<M>(held: &Held<M>, directory: &Path, revision: &str) -> bool {
    Path::new(&held.info.directory) == directory && held.version().revision == revision
}

/// What reads a directory's files, on a thread that may wait for them.
async fn blocking<T: Send + 'static>(
    directory: &Path,
    read: fn(&Path) -> Result<T, LoadError>,
) -> Result<Result<T, LoadError>, Status> {
    let directory = directory.to_owned();
    tokio::task::spawn_blocking(move || read(&directory))
        .await
        .map_err(|error| internal("WORKER_PANICKED", error.to_string()))
}

fn check_name(name: &str) -> Result<(), Status> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(allowed) {
        let why =
            format!("is {name:?}; 1 to {MAX_NAME} letters, digits, '-', '_' and '.' are allowed");
        return Err(invalid_argument("name", why));
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
