//! The network of namespaces on which real nodes are tested does what it says.

use std::collections::BTreeSet;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nexus_tests::netns::{Namespace, Network, Way};
use nexus_tests::process::Process;
use nexus_tests::seed;
use nexus_tests::wait::until;
use rand::RngCore as _;

const PORT: u16 = 7100;
const MS: Duration = Duration::from_millis(1);
/// How long one step may take on a busy machine.
const STEP_MAX: Duration = Duration::from_secs(30);

fn at(namespace: &Namespace) -> SocketAddr {
    (namespace.address(), PORT).into()
}

/// Goal: each packet is accounted for, the share that is lost is the one asked for, and the way back is not the way there.
///
/// Method: 2,000 numbered datagrams under 30 % loss one way and 20 ms the other; each that arrives is answered.
#[test]
fn seeded_datagrams_are_lost_and_delayed_as_told() {
    let seed = seed::of("seeded_datagrams_are_lost_and_delayed_as_told");
    let Some(network) = Network::permitted("seeded_datagrams_are_lost_and_delayed_as_told", 2, seed) else {
        return;
    };
    let bind = |namespace: &Namespace| {
        let socket = namespace.within(|| UdpSocket::bind(at(namespace))).unwrap();
        socket.set_read_timeout(Some(STEP_MAX)).unwrap();
        socket
    };
    let (here, there) = (bind(network.namespace(0)), bind(network.namespace(1)));
    network.switch().set(0, 1, Way { loss: 0.3, ..Way::default() });
    network.switch().set(1, 0, Way { delay: 20 * MS, jitter: 10 * MS, ..Way::default() });

    let (mut lost, mut slow) = (0_u64, 0_u64);
    let mut number = [0; 4];
    for wave in 0..40_u32 {
        let sent: BTreeSet<u32> = (wave * 50..wave * 50 + 50).collect();
        let began = Instant::now();
        for one in &sent {
            here.send_to(&one.to_be_bytes(), at(network.namespace(1))).unwrap();
        }
        let passed = until("the packets pass", STEP_MAX, || {
            let counts = network.switch().counts(0, 1);
            (counts.taken == u64::from(wave + 1) * 50).then_some(counts)
        });
        let arrives = 50 - (passed.lost - lost);
        lost = passed.lost;
        for _ in 0..arrives {
            let (length, from) = there.recv_from(&mut number).unwrap();
            assert!(length == 4 && sent.contains(&u32::from_be_bytes(number)), "{number:?}");
            there.send_to(&number, from).unwrap();
        }
        for _ in 0..arrives {
            assert_eq!(here.recv(&mut number).unwrap(), 4);
            slow += u64::from(began.elapsed() >= 20 * MS);
        }
    }
    let (forth, back) = (network.switch().counts(0, 1), network.switch().counts(1, 0));
    println!("{forth:?} {back:?}");
    assert_eq!((forth.taken, forth.delivered + forth.lost), (2000, 2000));
    assert!((500..700).contains(&forth.lost), "{forth:?}");
    assert_eq!((back.taken, back.delivered, slow), (forth.delivered, forth.delivered, forth.delivered));
}

/// Goal: what TCP carries over a bad way is whole; a cut way carries nothing, a healed one does again.
#[test]
fn seeded_streams_survive_the_network() {
    let seed = seed::of("seeded_streams_survive_the_network");
    let Some(network) = Network::permitted("seeded_streams_survive_the_network", 3, seed) else { return };
    let target = at(network.namespace(1));
    let listener = network.namespace(1).within(|| TcpListener::bind(target)).unwrap();
    let echo = thread::spawn(move || {
        for stream in listener.incoming() {
            let mut bytes = Vec::new();
            let mut stream = stream.unwrap();
            if stream.read_to_end(&mut bytes).is_ok() && bytes == b"end" {
                return;
            }
            // Fails if the asker has gone.
            let _ = stream.write_all(&bytes);
        }
    });
    let ask = |from: usize, bytes: &[u8]| -> io::Result<Vec<u8>> {
        let mut stream = network.namespace(from).within(|| TcpStream::connect_timeout(&target, 200 * MS))?;
        stream.set_read_timeout(Some(STEP_MAX))?;
        stream.write_all(bytes)?;
        stream.shutdown(std::net::Shutdown::Write)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    };
    let mut bytes = vec![0; 256 << 10];
    seed.stream("bytes").fill_bytes(&mut bytes);
    network.switch().set_all(Way { delay: 2 * MS, jitter: 2 * MS, loss: 0.02, ..Way::default() });
    let answer = until("a connection", STEP_MAX, || ask(0, &bytes).ok());
    assert!(answer == bytes, "{} bytes of {} came back, or others", answer.len(), bytes.len());

    network.switch().set_all(Way::default());
    // One direction is enough to break it, and the third namespace does not notice.
    network.switch().set(1, 0, Way { cut: true, ..Way::default() });
    assert_eq!(ask(0, b"?").unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert_eq!(ask(2, b"?").unwrap(), b"?");
    network.switch().set(1, 0, Way::default());
    assert_eq!(ask(0, b"!").unwrap(), b"!");
    assert!(network.switch().total().lost > 0 && network.switch().counts(1, 0).cut > 0);
    drop(ask(0, b"end"));
    echo.join().unwrap();
}

/// Goal: what runs in a namespace ends with it, so that nothing is left of a test however it ends. Method: dropping it closes the
/// pipe that it lives by, as the end of this process would.
#[test]
fn seeded_nothing_outlives_its_namespace() {
    let seed = seed::of("seeded_nothing_outlives_its_namespace");
    let Some(network) = Network::permitted("seeded_nothing_outlives_its_namespace", 1, seed) else { return };
    let mut command = Command::new("cat");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = Process::of(network.namespace(0).spawn(&mut command).unwrap());
    process.take_stdin().unwrap().write_all(b"alive").unwrap();
    process.prints("alive", STEP_MAX);
    let mut second = Command::new("sleep");
    let sleeper = Process::of(network.namespace(0).spawn(second.arg("600").stderr(Stdio::piped())).unwrap());
    assert!(!sleeper.has_ended());
    drop(network);
    assert_eq!(sleeper.wait(STEP_MAX).signal, Some(9));
}
