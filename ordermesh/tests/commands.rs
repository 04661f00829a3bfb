//! The executable as a person or a script meets it: exit codes, one line for each error, and what goes where.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Output, Stdio};

use tokio::net::TcpSocket;

fn ordermesh(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ordermesh")).args(args).output().expect("the executable was built")
}

fn only_line(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(text.lines().count(), 1, "one line, not: {text}");
    assert!(output.stdout.is_empty(), "errors go to stderr");
    text
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    assert_eq!(ordermesh(&["frobnicate"]).status.code(), Some(2));
    assert_eq!(ordermesh(&["order", "list"]).status.code(), Some(2), "somebody must ask");
    assert_eq!(ordermesh(&["dev", "--cors-origin", "*"]).status.code(), Some(2), "an origin is one page's, not all");
}

#[test]
fn help_leads_with_examples() {
    let help = ordermesh(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&help.stdout).starts_with("Examples:"));
}

#[test]
fn a_system_that_is_not_there_ends_with_69() {
    // Bound and not listening: nobody answers there, and nobody else gets the port meanwhile.
    let closed = TcpSocket::new_v4().unwrap();
    closed.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let url = format!("http://{}", closed.local_addr().unwrap());
    let output = ordermesh(&["order", "list", "--url", &url, "--token", "/dev/null"]);
    assert_eq!(output.status.code(), Some(69));
    assert!(only_line(&output).contains("is it running?"));
}

#[test]
fn an_unknown_service_is_named_with_the_known_ones() {
    let secrets = std::env::temp_dir().join(format!("ordermesh-cli-{}", std::process::id()));
    let output = ordermesh(&["serve", "frobnicator", "--secrets", &secrets.to_string_lossy()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(only_line(&output).contains("fix: one of identity"));
}

/// A running `ordermesh dev`, stopped at the end.
struct Dev(Child);

impl Dev {
    fn start(args: &[&str]) -> (Self, serde_json::Value) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ordermesh"));
        command.args(["dev", "--random-ports", "--seed", "none", "--output", "json"]).args(args);
        let mut dev = Self(command.stdout(Stdio::piped()).spawn().expect("the executable was built"));
        let mut line = String::new();
        BufReader::new(dev.0.stdout.take().expect("stdout is a pipe"))
            .read_line(&mut line)
            .expect("dev says when it is ready");
        (dev, serde_json::from_str(&line).expect("one line of JSON when it is ready"))
    }

    fn signal(&mut self, name: &str) -> Option<i32> {
        let sent = Command::new("kill").args([name, &self.0.id().to_string()]).status().expect("kill is there");
        assert!(sent.success());
        self.0.wait().expect("it is our child").code()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _gone_already = self.0.kill();
        let _reaped = self.0.wait();
    }
}

#[test]
fn dev_says_where_everything_is_and_drains_when_asked() {
    let (mut dev, report) = Dev::start(&["--ephemeral", "--cors-origin", "https://shop.example"]);
    for name in ["REST", "Docs", "gRPC", "Metrics", "Payments", "Warehouse", "Carrier", "Mail", "Database"] {
        assert!(report[name].is_string(), "{name} is missing in {report}");
    }
    let rest = report["REST"].as_str().unwrap();
    assert_eq!(allowed(rest, "https://shop.example").as_deref(), Some("https://shop.example"));
    assert_eq!(allowed(rest, "https://evil.example"), None);
    its_database_is_migrated_by_whom_the_command_line_names(report["Database"].as_str().unwrap());
    assert_eq!(dev.signal("-INT"), Some(0));
}

/// The origin that a preflight is told to be let in.
fn allowed(rest: &str, origin: &str) -> Option<String> {
    let request = reqwest::Client::new()
        .request(reqwest::Method::OPTIONS, format!("{rest}/orders"))
        .header("origin", origin)
        .header("access-control-request-method", "POST");
    let runtime = tokio::runtime::Runtime::new().expect("the system gives threads");
    let answer = runtime.block_on(request.send()).expect("an answer");
    assert_eq!(answer.status(), 204);
    let allowed = answer.headers().get("access-control-allow-origin")?;
    Some(allowed.to_str().expect("an origin is ASCII").to_owned())
}

fn its_database_is_migrated_by_whom_the_command_line_names(psql: &str) {
    let url = psql.trim_start_matches("psql '").trim_end_matches('\'').replace("//ordermesh@", "//{role}@");
    let named = ordermesh(&["migrate", "--database", &url, "--database-admin", "ordermesh"]);
    assert_eq!(named.status.code(), Some(0), "{}", String::from_utf8_lossy(&named.stderr));
    let unnamed = ordermesh(&["migrate", "--database", &url]);
    assert_eq!(unnamed.status.code(), Some(1));
    assert!(only_line(&unnamed).contains("fix: --database-admin"));
}

#[test]
fn a_data_directory_has_one_owner_and_survives_a_kill() {
    let dir = std::env::temp_dir().join(format!("ordermesh-dev-{}", std::process::id()));
    let place = ["--data-dir", &dir.to_string_lossy()];
    let (mut first, _) = Dev::start(&place);
    let second = ordermesh(&["dev", "--random-ports", place[0], place[1]]);
    assert_eq!(second.status.code(), Some(1));
    assert!(only_line(&second).contains("fix: stop that one"));
    assert_eq!(first.signal("-KILL"), None);
    let (mut again, _) = Dev::start(&place);
    assert_eq!(again.signal("-TERM"), Some(0));
    std::fs::remove_dir_all(dir).unwrap();
}
