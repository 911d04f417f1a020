//! The recipe of the node image, interrupted: finished steps are kept, unfinished ones never used.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kmslab::assets::{Assets, NoProgress, Options};
use kmslab::engine::Engine;
use kmslab_e2e::root;

const TAG: &str = "kmslab-node:interrupted";

struct Recipe {
    engine: Engine,
    parts: PathBuf,
    work: tempfile::TempDir,
}

impl Recipe {
    fn start(&self) -> Child {
        let mut recipe = Command::new(root().join("kind-config/image/build"));
        recipe
            .arg(&self.parts)
            .arg(self.work.path())
            .arg(TAG)
            .env("KMSLAB_ENGINE", self.engine.program());
        recipe
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap()
    }

    /// Runs until a step starts and `then` holds, then kills everything.
    fn killed_at(&self, step: &str, then: impl Fn(&Path) -> bool) {
        let mut recipe = self.start();
        let mut lines = BufReader::new(recipe.stdout.take().unwrap())
            .lines()
            .map(Result::unwrap);
        assert!(
            lines.any(|line| line.starts_with(step)),
            "{step} never began"
        );
        while !then(self.work.path()) {
            assert!(
                recipe.try_wait().unwrap().is_none(),
                "it ended before it could be broken off"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        let group = format!("-{}", recipe.id());
        assert!(
            Command::new("kill")
                .args(["-KILL", "--", &group])
                .status()
                .unwrap()
                .success()
        );
        recipe.wait().unwrap();
    }

    /// The finished root file systems in the directory, with the time when each was finished.
    fn finished(&self) -> Vec<(PathBuf, std::time::SystemTime)> {
        let all = std::fs::read_dir(self.work.path())
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let finished = all.filter(|path| path.to_string_lossy().ends_with(".tar.zst"));
        finished
            .map(|path| (path.clone(), path.metadata().unwrap().modified().unwrap()))
            .collect()
    }
}

/// Whether something is mounted below the directory.
fn mounted_below(work: &Path) -> bool {
    let below = format!(" {}/", work.display());
    std::fs::read_to_string("/proc/mounts")
        .unwrap()
        .lines()
        .any(|line| line.contains(&below))
}

#[ignore = "tier kind: needs a container engine, and a node image, which tests/run gets"]
#[tokio::test(flavor = "multi_thread")]
async fn kind_node_image_build_resumes_after_an_interruption() {
    let assets = Assets::from_env(&Options::default());
    let engine = Engine::find().await.unwrap();
    let parts = assets.node_parts(&NoProgress).await.unwrap();
    let recipe = Recipe {
        engine: engine.clone(),
        parts,
        work: tempfile::tempdir().unwrap(),
    };
    let recipe = tokio::task::spawn_blocking(move || {
        // Debootstrap mounts the kernel's file systems in its tree, and nothing unmounts them when
        // it is killed.
        recipe.killed_at("== Debian", mounted_below);
        assert!(recipe.finished().is_empty(), "half a tree counts as one");
        // Its end is tested elsewhere: use the tree of this machine's image, if there is one.
        let kept = kept_trees();
        for tree in &kept {
            std::fs::copy(tree, recipe.work.path().join(tree.file_name().unwrap())).unwrap();
        }
        recipe.killed_at("== the node image", |_| true);
        let finished = recipe.finished();
        assert_eq!(finished.len(), kept.len().max(1), "{finished:?}");

        let ended = recipe.start().wait_with_output().unwrap();
        let message = String::from_utf8_lossy(&ended.stdout).into_owned();
        assert!(
            ended.status.success() && !message.contains("== Debian"),
            "{message}"
        );
        assert_eq!(
            recipe.finished(),
            finished,
            "what was finished is made again"
        );
        recipe
    });
    let recipe = recipe.await.unwrap();
    let work = recipe.work.path();
    assert!(!mounted_below(work) && !work.join("rootfs").exists() && !work.join("stage").exists());
    assert!(engine.has_image(TAG).await.unwrap());
    assert!(!engine.has_image("kmslab-node-rootfs:trixie").await.unwrap());
    engine.run(&["rmi", TAG]).await.unwrap();
}

/// Root file systems that this machine's own image was built from.
fn kept_trees() -> Vec<PathBuf> {
    let cache = kmslab::assets::Cache::from_env()
        .root()
        .join("assets/node-work");
    let all = std::fs::read_dir(cache)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path());
    all.filter(|path| path.to_string_lossy().ends_with(".tar.zst"))
        .collect()
}
