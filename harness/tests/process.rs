//! Child processes of a lab: they never outlive it, and stop and start on request. Their parent is
//! this test program, which executes itself where a parent is to be killed.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use kmslab::platform::{Guard, StartTime, is_running, start_time};
use kmslab::process::{Child, Hold, ProcessError, Program, Signal};
use kmslab::runtime_dir::{Roots, RuntimeDir};
use kmslab::service::{RestartPolicy, Service};

const KMSLAB: &str = env!("CARGO_BIN_EXE_kmslab");
/// Tells the executed test program which directory and which guard to use.
const PARENT_DIR: &str = "KMSLAB_TEST_PARENT_DIR";
const PARENT_GUARD: &str = "KMSLAB_TEST_PARENT_GUARD";
const PATIENCE: Duration = Duration::from_secs(20);

fn guards() -> Vec<Guard> {
    if cfg!(target_os = "linux") {
        vec![Guard::Signal, Guard::Watch]
    } else {
        vec![Guard::Watch]
    }
}

fn sh(dir: &Path, guard: Guard, script: &str) -> Program {
    Program::new("sh", "/bin/sh", dir.join("sh.log"))
        .args(["-c", script])
        .guard(guard)
        .spawner(KMSLAB)
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let met = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, met)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}

/// Waits until the child's script prints `ready`.
async fn ready(child: &Child) {
    until("the script says ready", || child.tail(1) == "ready").await;
}

fn signal_of(status: ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&status)
}

/// Whether a watcher process of `pid` runs.
#[cfg(target_os = "linux")]
fn is_watched(pid: u32) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    let watch = format!("--watch\0{pid}\0").into_bytes();
    lines
        .into_iter()
        .any(|line| line.windows(watch.len()).any(|part| part == watch))
}

/// Not a test: the parent that [`sigkill_of_the_parent_leaves_no_child`] kills.
#[test]
fn parent_for_another_test() {
    let (Ok(dir), Ok(guard)) = (std::env::var(PARENT_DIR), std::env::var(PARENT_GUARD)) else {
        return;
    };
    let guard = if guard == "watch" {
        Guard::Watch
    } else {
        Guard::Signal
    };
    let child = sh(Path::new(&dir), guard, "echo ready; exec sleep 600")
        .spawn()
        .unwrap();
    let identity = serde_json::to_string(&(child.pid(), child.started().unwrap())).unwrap();
    std::fs::write(Path::new(&dir).join("new"), identity).unwrap();
    std::fs::rename(Path::new(&dir).join("new"), Path::new(&dir).join("child")).unwrap();
    loop {
        std::thread::park();
    }
}

#[tokio::test]
async fn sigkill_of_the_parent_leaves_no_child() {
    for guard in guards() {
        let dir = tempfile::tempdir().unwrap();
        let mut parent = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "parent_for_another_test", "--nocapture"])
            .env(PARENT_DIR, dir.path())
            .env(
                PARENT_GUARD,
                if guard == Guard::Watch {
                    "watch"
                } else {
                    "signal"
                },
            )
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let noted = dir.path().join("child");
        until("the parent has started its child", || noted.exists()).await;
        let (child, started): (u32, StartTime) =
            serde_json::from_slice(&std::fs::read(noted).unwrap()).unwrap();
        let log = dir.path().join("sh.log");
        until("the child is the program", || {
            std::fs::read_to_string(&log).is_ok_and(|log| log == "ready\n")
        })
        .await;
        assert!(is_running(child, &started));
        parent.kill().unwrap();
        parent.wait().unwrap();
        until("the child is gone", || !is_running(child, &started)).await;
        #[cfg(target_os = "linux")]
        until("its watcher is gone", || !is_watched(child)).await;
    }
}

#[tokio::test]
async fn pid_is_the_programs_own_and_receives_signals() {
    for guard in guards() {
        let dir = tempfile::tempdir().unwrap();
        let script = "trap 'exit 7' TERM; echo $$ >pid; echo ready; while :; do sleep 0.02; done";
        let child = sh(
            dir.path(),
            guard,
            &format!("cd '{}'; {script}", dir.path().display()),
        )
        .spawn()
        .unwrap();
        ready(&child).await;
        let own: u32 = std::fs::read_to_string(dir.path().join("pid"))
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        assert_eq!(own, child.pid());
        assert_eq!(child.stop(PATIENCE).await.unwrap().code(), Some(7));
        assert_eq!(child.status().unwrap().code(), Some(7));
        assert_eq!(start_time(own).unwrap(), None);
        // Signals to an exited process are ignored.
        child.signal(Signal::KILL).unwrap();
        #[cfg(target_os = "linux")]
        until("its watcher is gone", || !is_watched(own)).await;
    }
}

#[tokio::test]
async fn process_group_is_killed_after_the_grace_period() {
    let dir = tempfile::tempdir().unwrap();
    let script = "trap '' TERM; sleep 600 & echo $! >&2; echo ready; wait; wait; sleep 600";
    let child = sh(dir.path(), Guard::native(), script).spawn().unwrap();
    ready(&child).await;
    let grandchild: u32 = child.tail(2).lines().next().unwrap().parse().unwrap();
    assert!(start_time(grandchild).unwrap().is_some());
    assert_eq!(
        signal_of(child.stop(Duration::from_millis(50)).await.unwrap()),
        Some(9)
    );
    until("what it started is gone", || {
        start_time(grandchild).unwrap().is_none()
    })
    .await;
}

#[tokio::test]
async fn child_outlives_the_thread_that_started_it() {
    let dir = tempfile::tempdir().unwrap();
    let program = sh(
        dir.path(),
        Guard::native(),
        "trap 'exit 7' TERM; echo ready; while :; do sleep 0.02; done",
    );
    let child = std::thread::spawn(move || program.spawn().unwrap())
        .join()
        .unwrap();
    ready(&child).await;
    assert_eq!(child.stop(PATIENCE).await.unwrap().code(), Some(7));
}

#[tokio::test]
async fn dropped_child_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let child = sh(dir.path(), Guard::native(), "echo ready; exec sleep 600")
        .spawn()
        .unwrap();
    ready(&child).await;
    let (pid, started) = (child.pid(), child.started().unwrap().clone());
    drop(child);
    until("it is gone", || !is_running(pid, &started)).await;
}

#[tokio::test]
async fn early_exit_is_reported_with_the_log_of_this_run() {
    let dir = tempfile::tempdir().unwrap();
    sh(dir.path(), Guard::native(), "echo old")
        .spawn()
        .unwrap()
        .wait()
        .await
        .unwrap();
    let child = sh(dir.path(), Guard::native(), "echo boom >&2; exit 3")
        .spawn()
        .unwrap();
    let error = child.ended_error(child.wait().await.unwrap()).to_string();
    assert!(
        error.starts_with("sh ended with exit status: 3; its log /"),
        "{error}"
    );
    assert!(
        error.contains("\nboom\ncommand: /bin/sh -c 'echo boom >&2; exit 3'")
            && !error.contains("old"),
        "{error}"
    );
}

#[tokio::test]
async fn child_environment_has_only_what_was_set() {
    let dir = tempfile::tempdir().unwrap();
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    let child = sh(dir.path(), Guard::native(), "env")
        .env("GIVEN", "yes")
        .spawn()
        .unwrap();
    child.wait().await.unwrap();
    let env = child.tail(99);
    assert!(
        env.contains("GIVEN=yes") && env.contains("PATH=") && !env.contains("CARGO_"),
        "{env}"
    );
}

#[test]
fn exec_child_rejects_a_dead_parent_and_reports_exec_errors() {
    let run = |args: &[&str]| {
        let output = Command::new(KMSLAB)
            .arg("exec-child")
            .args(args)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let own = std::process::id().to_string();
    for guard in if cfg!(target_os = "linux") {
        &["signal", "watch"][..]
    } else {
        &["watch"]
    } {
        let (code, message) = run(&[
            "--parent",
            "4194399",
            "--guard",
            guard,
            "--",
            "/bin/sh",
            "-c",
            "echo ran >&2",
        ]);
        assert_eq!(code, Some(125), "{message}");
        assert!(
            message.contains("the process 4194399 that wanted this child is gone: not started"),
            "{message}"
        );
    }
    let (code, message) = run(&["--parent", &own, "--", "/no/such/program"]);
    assert_eq!(code, Some(127), "{message}");
    assert!(
        message.contains("cannot run /no/such/program: No such file"),
        "{message}"
    );
}

fn lab(temp: &Path) -> Arc<RuntimeDir> {
    let roots = Roots {
        runtime: vec![temp.join("run")],
        state: temp.join("state"),
    };
    Arc::new(RuntimeDir::create_in(&roots, "x").unwrap())
}

fn sleeper(dir: &RuntimeDir) -> Program {
    sleeper_called("sleeper", dir)
}

fn sleeper_called(name: &str, dir: &RuntimeDir) -> Program {
    let log = dir.logs().join(format!("{name}.log"));
    Program::new(name, "/bin/sh", log)
        .args(["-c", "exec sleep 600"])
        .spawner(KMSLAB)
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

fn noted_pid(dir: &RuntimeDir) -> u32 {
    kmslab::runtime_dir::LabState::read(dir.path())
        .unwrap()
        .processes["sleeper"]
        .pid
}

#[tokio::test]
async fn killed_service_of_a_lab_is_restarted() {
    let temp = tempfile::tempdir().unwrap();
    let dir = lab(temp.path());
    let service = Service::start(sleeper(&dir), RestartPolicy::Always, Arc::clone(&dir)).unwrap();
    let first = service.pid().unwrap();
    assert_eq!(noted_pid(&dir), first);
    kill(first);
    until("another run", || {
        service.pid().is_some_and(|pid| pid != first)
    })
    .await;
    assert_eq!(noted_pid(&dir), service.pid().unwrap());
    let ended = service.unexpected_exits();
    assert_eq!(
        (ended.len(), ended[0].pid, signal_of(ended[0].status)),
        (1, first, Some(9))
    );

    // Killed on request, it stays down until it is restarted, which is not a failure.
    service.kill().await.unwrap();
    assert_eq!(service.pid(), None);
    service.restart().await.unwrap();
    assert_eq!(noted_pid(&dir), service.pid().unwrap());
    assert_eq!(service.unexpected_exits().len(), 1);
    service.stop(PATIENCE).await.unwrap();
}

#[tokio::test]
async fn held_service_stays_down_until_released() {
    let temp = tempfile::tempdir().unwrap();
    let dir = lab(temp.path());
    let service = Service::start(sleeper(&dir), RestartPolicy::Always, Arc::clone(&dir)).unwrap();
    let free = Service::start(
        sleeper_called("free", &dir),
        RestartPolicy::Always,
        Arc::clone(&dir),
    )
    .unwrap();
    let hold = Hold::take(dir.path(), "sleeper").await.unwrap();
    kill(service.pid().unwrap());
    until("its end is recorded", || {
        service.unexpected_exits().len() == 1
    })
    .await;
    // A service that exits later with the same delay is restarted by now; this one would be as well
    // if it were not held.
    let ended = free.pid().unwrap();
    kill(ended);
    until("the other's next run", || {
        free.pid().is_some_and(|pid| pid != ended)
    })
    .await;
    assert_eq!(service.pid(), None);
    drop(hold);
    until("another run", || service.pid().is_some()).await;
}

#[tokio::test]
async fn dropping_a_lab_kills_its_processes() {
    let temp = tempfile::tempdir().unwrap();
    let dir = lab(temp.path());
    let path: PathBuf = dir.path().into();
    let service = Service::start(sleeper(&dir), RestartPolicy::Never, Arc::clone(&dir)).unwrap();
    let (pid, started) = (
        service.pid().unwrap(),
        service.child().started().unwrap().clone(),
    );
    drop(service);
    drop(dir);
    assert!(!is_running(pid, &started), "the directory goes last");
    assert!(!path.exists());
}

#[tokio::test]
async fn service_that_cannot_be_started_is_an_error() {
    let temp = tempfile::tempdir().unwrap();
    let dir = lab(temp.path());
    let program =
        Program::new("none", dir.file("none"), dir.logs().join("none.log")).spawner(KMSLAB);
    let error = Service::start(program, RestartPolicy::Always, dir).unwrap_err();
    assert!(
        matches!(error, ProcessError::NotExecutable { .. }),
        "{error}"
    );
}
