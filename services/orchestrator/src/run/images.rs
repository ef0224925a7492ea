//! Encoded train images by id, with a bounded cache: sources and exemplars come again and again.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use saga_proto::{
    labelstore::v1::{GetImageRequest, dataset_service_client::DatasetServiceClient},
    r#type::v1::Image,
};

use saga_client::Transport;

use crate::remote::{Remote, RemoteError};

/// Fetches images from the label store and keeps the latest ones.
#[derive(Debug)]
pub(super) struct Images {
    store: Remote<DatasetServiceClient<Transport>>,
    cache: Mutex<Cache>,
}

impl Images {
    /// Keeps at most `capacity` bytes.
    pub(super) fn new(
        store: Remote<DatasetServiceClient<Transport>>,
        capacity: usize,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            cache: Mutex::new(Cache {
                capacity,
                ..Cache::default()
            }),
        })
    }

    /// The encoded image with this id.
    pub(super) async fn get(&self, image_id: &str) -> Result<Image, RemoteError> {
        if let Some(image) = self.lock().images.get(image_id) {
            return Ok(image.clone());
        }
        let request = GetImageRequest {
            image_id: image_id.to_owned(),
        };
        let row = self
            .store
            .call(request, |mut store, request| async move {
                store.get_image(request).await
            })
            .await?
            .row;
        let image = row.and_then(|row| row.image).unwrap_or_default();
        self.lock().insert(image_id, &image);
        Ok(image)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// First in, first out.
#[derive(Debug, Default)]
struct Cache {
    images: HashMap<String, Image>,
    order: VecDeque<String>,
    bytes: usize,
    capacity: usize,
}

impl Cache {
    fn insert(&mut self, image_id: &str, image: &Image) {
        if image.data.len() > self.capacity || self.images.contains_key(image_id) {
            return;
        }
        self.bytes += image.data.len();
        self.images.insert(image_id.to_owned(), image.clone());
        self.order.push_back(image_id.to_owned());
        while self.bytes > self.capacity {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            self.bytes -= self
                .images
                .remove(&oldest)
                .map_or(0, |image| image.data.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_keeps_the_latest_images_within_its_bytes() {
        let image = |size: usize| Image {
            data: vec![0; size].into(),
            ..Image::default()
        };
        let mut cache = Cache {
            capacity: 100,
            ..Cache::default()
        };
        [("a", 40), ("b", 40), ("a", 40), ("c", 40), ("huge", 101)]
            .iter()
            .for_each(|(id, size)| cache.insert(id, &image(*size)));
        let mut kept: Vec<_> = cache.images.keys().map(String::as_str).collect();
        kept.sort_unstable();
        assert_eq!((kept, cache.bytes), (vec!["b", "c"], 80));
    }
}
