//! `cargo run --example thermostat -- run nexus-app/examples/thermostat.toml`: your own behavior in your own binary.

use nexus_app::prelude::*;
/// A room as its `args` in the topology begin it: degrees wanted, and whether the heating is on.
#[derive(serde::Serialize, serde::Deserialize)]
struct Room {
    target: f64,
    heating: bool,
}

impl Reactive for Room {
    fn query(&self, key: &str) -> Reply {
        match key {
            "target" => Payload::encode(&self.target),
            "heating" => Payload::encode(&self.heating),
            _ => Err(AgentError::NotFound { key: key.to_owned() }),
        }
    }
    fn validate(&self, key: &str, value: &Payload) -> Result<(), AgentError> {
        let allowed = key == "target" && (5.0..=30.0).contains(&value.decode::<f64>()?);
        allowed.then_some(()).ok_or(AgentError::Invalid { reason: "only `target` is set, to 5 to 30".into() })
    }
    fn update(&mut self, _: &str, value: Payload) -> Reply {
        self.target = value.decode()?;
        Ok(value)
    }
    fn act(&mut self, name: &str, arguments: &Payload) -> Reply {
        let readings: std::collections::BTreeMap<String, f64> = arguments.decode()?;
        let ("reading", Some(&celsius)) = (name, readings.get("celsius")) else {
            return Err(AgentError::Unsupported { what: "anything but `reading` with `celsius`".into() });
        };
        self.heating = celsius < self.target + if self.heating { 0.5 } else { -0.5 };
        Payload::encode(&self.heating)
    }
    fn inspect(&self) -> Reply {
        Payload::encode(self)
    }
}

#[derive(Default)]
struct Thermostat;
type Done<T = ()> = Result<T, ActorProcessingErr>;

impl Actor for Thermostat {
    type Msg = AgentMessage;
    type State = Room;
    type Arguments = AgentSpec;
    async fn pre_start(&self, _: ActorRef<Self::Msg>, spec: AgentSpec) -> Done<Room> {
        Ok(spec.args()?)
    }
    async fn handle(&self, _: ActorRef<Self::Msg>, msg: AgentMessage, room: &mut Room) -> Done {
        serve(room, msg);
        Ok(())
    }
}

fn main() -> std::process::ExitCode {
    nexus_app::Nexus::new().behavior::<Thermostat>("thermostat").main()
}
