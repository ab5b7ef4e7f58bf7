//! The command line as a process: streams, exit codes, files. Nothing here needs a cluster.
//!
//! What can be tested below the process boundary is tested there.

use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;

/// `nomad` with nothing of the user's or the shell's around it.
fn nomad(home: &Path) -> Command {
    let mut command = Command::cargo_bin("nomad").expect("the binary was built");
    command.env_clear().env("HOME", home).env("XDG_CONFIG_HOME", home.join("config")).arg("-q");
    command
}

fn home() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn code(command: &mut Command) -> (i32, String, String) {
    let output = command.output().expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code().expect("it exits"), text(output.stdout), text(output.stderr))
}

#[test]
fn wrong_usage_is_2_and_says_what_to_type() {
    let home = home();
    for args in ["kv ge x", "kv get", "nope", "--nope", "kv put k", "kv get k -o xml", "kv get k --timeout 5"]
    {
        let (code, stdout, stderr) = code(nomad(home.path()).args(args.split(' ')));
        assert_eq!((code, stdout.as_str()), (2, ""), "{args}: {stderr}");
        assert!(stderr.starts_with("error: ") && stderr.contains("\ntry: nomad"), "{args}: {stderr}");
    }
}

#[test]
fn wrong_usage_is_json_where_json_is_asked_for() {
    let home = home();
    let (code, _, stderr) = code(nomad(home.path()).args(["kv", "ge", "x", "-o", "json"]));
    let failure: Value = serde_json::from_str(&stderr).expect(&stderr);
    assert_eq!((code, &failure["exit_code"]), (2, &2.into()));
    assert_eq!(failure["try"], "nomad kv --help");
}

#[test]
fn nobody_there_is_3_within_the_time_out() {
    let home = home();
    let started = tokio::time::Instant::now();
    for args in ["kv get x", "kv put x y", "range", "status -o json", "shard ls", "token new"] {
        let mut command = nomad(home.path());
        // Port 1 of loopback: nobody listens there.
        command.args(["-e", "127.0.0.1:1", "--timeout", "300ms"]).args(args.split(' '));
        let (code, stdout, stderr) = code(&mut command);
        assert_eq!((code, stdout.as_str()), (3, ""), "{args}: {stderr}");
        assert!(stderr.contains("127.0.0.1:1"), "{args}: {stderr}");
    }
    assert!(started.elapsed().as_secs() < 20, "each within its time-out and the start of a process");
}

#[test]
fn no_cluster_chosen_is_2() {
    let home = home();
    let (code, _, stderr) = code(nomad(home.path()).args(["kv", "get", "x"]));
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("try: nomad up"), "{stderr}");
}

#[test]
fn system_keys_are_refused_with_4_before_anybody_is_asked() {
    let home = home();
    for args in ["kv put _/x y", "kv get _/x", "kv del _/x", "kv incr _/x", "kv cas _/x --absent y"] {
        let (code, _, stderr) = code(nomad(home.path()).args(args.split(' ')));
        assert_eq!(code, 4, "{args}: {stderr}");
        assert!(stderr.contains("try: nomad meta get"), "{args}: {stderr}");
    }
}

#[test]
fn contexts_are_added_chosen_listed_and_removed() {
    let home = home();
    let run = |args: &str| code(nomad(home.path()).args(args.split(' ')));
    assert_eq!(run("context ls -o json").1.trim(), "[]");
    assert_eq!(run("context add lab").0, 2, "nothing says which cluster");
    assert_eq!(run("context add lab --insecure -e 127.0.0.1:1,127.0.0.1:2").0, 0);
    assert_eq!(run("context add lab --insecure -e 127.0.0.1:9").0, 2, "it exists");
    assert_eq!(run("context add prod --insecure -e 127.0.0.1:3").0, 0);
    assert_eq!(run("context use nope").0, 2);
    assert_eq!(run("context use prod").0, 0);

    let listed: Value = serde_json::from_str(&run("context ls -o json").1).expect("JSON");
    let current: Vec<_> =
        listed.as_array().expect("a list").iter().map(|c| (&c["name"], &c["current"])).collect();
    assert_eq!(current, [(&"lab".into(), &false.into()), (&"prod".into(), &true.into())]);
    assert_eq!(listed[0]["endpoints"][1], "127.0.0.1:2");
    assert_eq!(run("context ls -o raw").1, "lab\nprod\n");

    let file = home.path().join("config/nodenomad/contexts/prod.toml");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(&file).expect("it is there").permissions(),
    );
    assert_eq!(mode & 0o777, 0o600, "it may hold a key");
    let (code, _, stderr) = run("--timeout 300ms kv get x");
    assert!(code == 3 && stderr.contains("127.0.0.1:3"), "the context in use is used: {stderr}");
    let by_file = format!("-c {} --timeout 300ms kv get x", file.display());
    assert_eq!(run(&by_file).0, 3, "a context file stands for itself");

    assert_eq!(run("context rm prod").0, 2, "nobody is here to say yes");
    assert_eq!(run("context rm prod --yes").0, 0);
    assert_eq!(run("context rm prod --yes").0, 2, "it is gone");
    assert_eq!(run("context ls -o raw").1, "lab\n");
}

#[test]
fn the_environment_is_ours_and_below_the_flags() {
    let home = home();
    let mut command = nomad(home.path());
    command
        .env("NODENOMAD_ENDPOINT", "127.0.0.1:2")
        .env("NODENOMAD_TIMEOUT", "300ms")
        .args(["kv", "get", "x"]);
    let (code_of_env, _, stderr) = code(&mut command);
    assert!(code_of_env == 3 && stderr.contains("127.0.0.1:2"), "{stderr}");
    let (_, _, stderr) = code(command.args(["-e", "127.0.0.1:1"]));
    assert!(stderr.contains("127.0.0.1:1"), "{stderr}");
    let foreign = code(nomad(home.path()).env("NOMAD_ADDR", "127.0.0.1:2").args(["kv", "get", "x"]));
    assert_eq!(foreign.0, 2, "another program's variables mean nothing here");
}

#[test]
fn version_as_json() {
    let home = home();
    let (code, stdout, _) = code(nomad(home.path()).args(["version", "-o", "json"]));
    let version: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!((code, &version["version"]), (0, &env!("CARGO_PKG_VERSION").into()));
    assert_eq!(version["name"], "NodeNomad");
}

#[test]
fn serve_refuses_what_cannot_be() {
    let home = home();
    let data = home.path().join("data");
    let data = data.to_str().expect("text");
    let serve = |args: &str| code(nomad(home.path()).arg("serve").args(args.split(' ')));
    assert_eq!(serve("--bootstrap").0, 2, "no --data");
    let (code, _, stderr) = serve(&format!("--data {data}"));
    assert!(code == 2 && stderr.contains("--bootstrap"), "an empty directory needs a beginning: {stderr}");
    let insecure = serve(&format!("--data {data} --bootstrap --insecure --listen 0.0.0.0:0"));
    assert!(insecure.0 == 2 && insecure.2.contains("loopback"), "{}", insecure.2);
}

#[test]
fn a_reader_that_closed_the_pipe_is_no_error() {
    let home = home();
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin!("nomad"));
    command.env_clear().env("HOME", home.path()).args(["completions", "bash"]).stdout(writer);
    let output = command.output().expect("it runs");
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn no_colour_off_a_terminal() {
    let home = home();
    let plain = code(nomad(home.path()).args(["kv", "ge"])).2;
    assert!(!plain.contains('\x1b'), "{plain}");
    let forced = code(nomad(home.path()).args(["--color", "always", "kv", "get", "_/x"])).2;
    assert!(forced.contains('\x1b'), "{forced}");
}
