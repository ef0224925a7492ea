//! Tests of the configuration layers.

use std::io::Write as _;

use super::*;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Example {
    server: ServerConfig,
    telemetry: TelemetryConfig,
    queue: Queue,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Queue {
    capacity: usize,
    fraction: f64,
    name: String,
}

impl ServiceConfig for Example {
    const SERVICE: &'static str = "label-store";
    const ABOUT: &'static str = "An example.";
    const DEFAULTS: &'static str = "[server]\nlisten = \"127.0.0.1:50051\"\n[queue]\ncapacity = 8\nfraction = 0.5\nname = \"a\"\n";

    fn telemetry(&self) -> &TelemetryConfig {
        &self.telemetry
    }

    fn check(&self) -> Result<(), InvalidValue> {
        InvalidValue::unless_within("queue.fraction", self.queue.fraction, 0.0..=1.0)
    }
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn variables(pairs: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect::<Vec<_>>()
        .into_iter()
}

fn message(file: Option<&std::path::Path>, environment: &[(&str, &str)], flags: &[Flag]) -> String {
    load_from::<Example>(file, variables(environment), flags)
        .unwrap_err()
        .to_string()
}

#[test]
fn service_defaults_lie_over_the_shared_ones() {
    let config = compiled_in::<Example>();
    assert_eq!(config.server.listen.port(), 50051);
    assert_eq!(
        config.server.drain_seconds,
        ServerConfig::default().drain_seconds
    );
}

#[test]
fn flags_win_over_variables_over_file_over_defaults() {
    let file = file("[queue]\ncapacity = 1\nfraction = 0.1\nname = \"file\"\n");
    let environment = [
        ("SAGA_LABEL_STORE__QUEUE__CAPACITY", "2"),
        ("SAGA_LABEL_STORE__QUEUE__NAME", "7"),
        ("SAGA_OTHER__X", "1"),
    ];
    let flag = Flag {
        flag: "--capacity",
        key: "queue.capacity",
        value: "3".to_owned(),
    };
    let config = load_from::<Example>(Some(file.path()), variables(&environment), &[flag]).unwrap();
    assert_eq!(
        (
            config.queue.capacity,
            config.queue.fraction,
            config.queue.name.as_str()
        ),
        (3, 0.1, "7")
    );
}

#[test]
fn an_unknown_key_is_named_with_its_file() {
    let file = file("[queue]\ncapacty = 1\n");
    let message = message(Some(file.path()), &[], &[]);
    assert!(
        message.contains("capacty") && message.contains(&file.path().display().to_string()),
        "{message}"
    );
}

#[test]
fn a_bad_value_is_named_with_its_variable() {
    let message = message(None, &[("SAGA_LABEL_STORE__QUEUE__CAPACITY", "many")], &[]);
    assert!(
        message.contains("SAGA_LABEL_STORE__QUEUE__CAPACITY") && message.contains("queue.capacity"),
        "{message}"
    );
}

#[test]
fn a_value_out_of_range_is_named_with_its_flag_and_the_range() {
    let flag = Flag {
        flag: "--fraction",
        key: "queue.fraction",
        value: "1.5".to_owned(),
    };
    let message = message(None, &[], &[flag]);
    assert!(
        message.contains("--fraction")
            && message.contains("`queue.fraction` is 1.5")
            && message.contains("0 to 1"),
        "{message}"
    );
}

#[test]
fn a_variable_that_names_a_section_or_an_unknown_section_is_refused() {
    for name in [
        "SAGA_LABEL_STORE__QUEUE",
        "SAGA_LABEL_STORE__QUEU__CAPACITY",
        "SAGA_LABEL_STORE__",
        "SAGA_LABEL_STORE__QUEUE__CAPACITY__X",
    ] {
        let message = message(None, &[(name, "1")], &[]);
        assert!(message.contains(name), "{message}");
    }
}

#[test]
fn broken_toml_and_a_missing_file_are_told_apart() {
    let file = file("[queue\n");
    assert!(message(Some(file.path()), &[], &[]).contains("not valid TOML"));
    assert!(
        message(Some(std::path::Path::new("/no/such.toml")), &[], &[])
            .contains("/no/such.toml cannot be read")
    );
}

#[test]
fn what_is_printed_is_read_back() {
    let printed = toml::to_string_pretty(&compiled_in::<Example>()).unwrap();
    let again = load_from::<Example>(Some(file(&printed).path()), std::iter::empty(), &[]).unwrap();
    assert_eq!(toml::to_string_pretty(&again).unwrap(), printed);
}

#[test]
fn metrics_are_off_where_their_address_is_empty() {
    assert_eq!(compiled_in::<Example>().server.metrics_listen, None);
    let variable = "SAGA_LABEL_STORE__SERVER__METRICS_LISTEN";
    let address = |text: &str| {
        let environment = [(variable, text)];
        let loaded = load_from::<Example>(None, variables(&environment), &[]);
        loaded.map(|config| config.server.metrics_listen)
    };
    assert_eq!(address("").unwrap(), None);
    let given = address("127.0.0.1:9464").unwrap();
    assert_eq!(given, Some(([127, 0, 0, 1], 9464).into()));
    let refused = address("9464").unwrap_err().to_string();
    for part in [variable, "metrics_listen", "\"9464\" is no address"] {
        assert!(refused.contains(part), "{refused}");
    }
}
