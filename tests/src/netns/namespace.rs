//! A network namespace, and a process namespace with it.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::process::{Child, Command, Stdio};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tun_rs::{DeviceBuilder, SyncDevice};

/// The device in each namespace.
const DEVICE: &str = "nexus0";

/// All addresses of a network lie in it.
const PREFIX: u8 = 24;

/// A namespace with one way out. Whatever runs in it is killed when it is dropped.
#[derive(Debug)]
pub struct Namespace {
    address: Ipv4Addr,
    net: File,
    processes: File,
    /// It keeps both alive and ends with its input.
    holder: Child,
}

impl Namespace {
    /// A namespace with `address`, and the other end of its device.
    pub(super) fn new(address: Ipv4Addr) -> io::Result<(Self, SyncDevice)> {
        let mut holder = Command::new("unshare")
            .args(["--net", "--pid", "--fork", "--kill-child", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| because("unshare", &error))?;
        if let Err(error) = echo(&mut holder) {
            let said = holder.wait_with_output()?.stderr;
            return Err(because(String::from_utf8_lossy(&said).trim(), &error));
        }
        let open = |name| File::open(format!("/proc/{}/ns/{name}", holder.id()));
        let (net, processes) = (open("net")?, open("pid_for_children")?);
        let namespace = Self { address, net, processes, holder };
        let device = namespace.within(|| device(address))?;
        Ok((namespace, device))
    }

    /// Where others reach it.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Does `work` on a thread whose sockets are in this namespace; so are those of the threads it starts.
    ///
    /// # Panics
    /// If it does, or the namespace is closed to us.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            move_into_link_name_space(self.net.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("it is ours");
            work()
        };
        thread::scope(|scope| scope.spawn(inside).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Starts `command` in this namespace.
    ///
    /// # Errors
    /// Those of [`Command::spawn`].
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        self.within(|| {
            // For the children of this thread, which may start no thread from now on.
            move_into_link_name_space(self.processes.as_fd(), Some(LinkNameSpaceType::ProcessID))?;
            command.spawn()
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Its end. It is not waited for: it goes once its processes have been waited for, which is up to those who started them.
        drop(self.holder.stdin.take());
    }
}

/// Waits until the holder has its namespaces: its child answers only then.
fn echo(holder: &mut Child) -> io::Result<()> {
    let (Some(input), Some(output)) = (&mut holder.stdin, &mut holder.stdout) else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    input.write_all(b"?")?;
    output.read_exact(&mut [0])
}

/// Makes the device in the namespace of this thread, and switches on the loopback device.
fn device(address: Ipv4Addr) -> io::Result<SyncDevice> {
    let device = DeviceBuilder::new()
        .name(DEVICE)
        .ipv4(address, PREFIX, None)
        .build_sync()
        .map_err(|error| because("a TUN device (/dev/net/tun)", &error))?;
    device.set_nonblocking(true)?;
    let said = Command::new("ip").args(["link", "set", "lo", "up"]).output();
    let said = said.map_err(|error| because("ip (iproute2)", &error))?;
    if said.status.success() {
        Ok(device)
    } else {
        Err(io::Error::other(format!("ip link set lo up: {}", String::from_utf8_lossy(&said.stderr).trim())))
    }
}

fn because(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}
