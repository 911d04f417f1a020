//! kind-config/README.md, command by command, with plain kind, kubectl, docker and the AWS CLI.

use kmslab::assets::{Assets, Options, Tool};
use kmslab::cluster::kind::{Machine, config};
use kmslab::engine::Engine;
use kmslab_e2e::{Shell, root};

/// The commands of a section.
fn commands(readme: &str, heading: &str) -> String {
    let section = readme
        .split("\n## ")
        .find(|section| section.starts_with(heading))
        .unwrap();
    let blocks = section
        .split("```sh\n")
        .skip(1)
        .map(|rest| rest.split_once("```").unwrap().0);
    blocks.collect::<Vec<_>>().join("\n")
}

/// Copies the directory, and plugin/deploy next to it.
fn copied(to: &std::path::Path) {
    for (from, to_dir) in [
        ("kind-config", "kind-config"),
        ("plugin/deploy", "plugin/deploy"),
    ] {
        let target = to.join(to_dir);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        let copy = std::process::Command::new("cp")
            .arg("-r")
            .arg(root().join(from))
            .arg(&target)
            .status()
            .unwrap();
        assert!(copy.success());
    }
}

#[ignore = "tier kind: needs a container engine, and a node image, which tests/run gets"]
#[tokio::test(flavor = "multi_thread")]
async fn kind_config_readme_works_command_by_command() {
    let readme = std::fs::read_to_string(root().join("kind-config/README.md")).unwrap();
    let script = commands(&readme, "An encrypted kind cluster by hand");
    let typed = Shell::new(&[Tool::Kubectl, Tool::Kind]);
    copied(typed.dir());
    let file = typed.dir().join("kind-config/encrypted.yaml");

    // On a machine where kind alone would fail, the harness's workarounds are added to the file.
    let engine = Engine::find().await.unwrap();
    let image = Assets::from_env(&Options::default())
        .node_image(&engine, None, &kmslab::assets::NoProgress)
        .await
        .unwrap();
    let machine = Machine::detect(&engine, &image).await.unwrap();
    if let Some(message) = machine.remedies.description() {
        eprintln!("{message}");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(
            &file,
            format!("{text}{}", config::patches(machine.remedies).unwrap()),
        )
        .unwrap();
    }

    let away = "kind delete cluster --name by-hand; docker rm --force --volumes by-hand-emulator; docker network rm by-hand";
    let script = format!("trap '({away}) >/dev/null 2>&1 || true' EXIT\ncd kind-config\n{script}");
    let printed = tokio::task::spawn_blocking(move || typed.run(&script))
        .await
        .unwrap();
    assert!(printed.contains("k8s:enc:kms:v2:kmslab:"), "{printed}");
    assert!(
        printed.contains("Active: active (running)") && printed.contains("listening socket="),
        "{printed}"
    );
    assert!(printed.contains("secret/test-secret replaced"), "{printed}");
    assert!(
        printed.contains("\"Description\": \"In the cluster\""),
        "{printed}"
    );
}
