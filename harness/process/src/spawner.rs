//! The thread that spawns children. PR_SET_PDEATHSIG depends on the spawning *thread* (prctl(2)),
//! and threads of an async runtime are temporary, so this one stays until the process ends.

use std::io;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};

type SpawnRequest = (Command, SyncSender<io::Result<Child>>);

static SPAWNER: OnceLock<Sender<SpawnRequest>> = OnceLock::new();

/// Spawns `command` on that thread.
pub(super) fn spawn(command: Command) -> io::Result<Child> {
    let removed = || io::Error::other("the thread that spawns children is gone");
    let (reply, answer) = sync_channel(1);
    spawner()?.send((command, reply)).map_err(|_| removed())?;
    answer.recv().map_err(|_| removed())?
}

fn spawner() -> io::Result<&'static Sender<SpawnRequest>> {
    if SPAWNER.get().is_none() {
        let (orders, queue) = channel::<SpawnRequest>();
        std::thread::Builder::new()
            .name("spawner".into())
            .spawn(move || {
                for (mut command, reply) in queue {
                    let _ = reply.send(command.spawn());
                }
            })?;
        // If two threads race, one queue is dropped here and its thread ends unused.
        let _ = SPAWNER.set(orders);
    }
    Ok(SPAWNER
        .get()
        .expect("it was set above, here or by another thread"))
}
