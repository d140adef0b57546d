//! Call control with real audio: what parties hear under a plan, packet by packet, and what is on the disk afterwards.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::{Duration, Instant},
};

use tandem::{
    core::{
        command::{Command, LegEvent, Saved},
        effect::{Action, Ring},
        id::LegId,
        matrix::{Hears, Plan, Taping},
        party::{Party, Sdp, Target, Transport},
        tape,
    },
    media,
    sip::{brain::Brain, message::Method},
};

use super::fake::{Node, PATIENCE, Peer, demo, response, trunk, until};

/// Samples of 20 ms.
const FRAME: usize = 160;
/// Codes of μ-law: nothing, and the loudest there is, which decodes to less than -30 000.
pub(super) const SILENCE: u8 = 0xFF;
pub(super) const SECRET: u8 = 0x00;

/// The audio of a phone: it says one code again and again, and listens.
struct Audio {
    socket: UdpSocket,
    code: u8,
    ssrc: u8,
    sent: u16,
    relay: SocketAddr,
}

impl Audio {
    fn new(code: u8) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        Self { socket, code, ssrc: code, sent: 0, relay: ([127, 0, 0, 1], 9).into() }
    }

    /// Says that it speaks G.711 μ-law here.
    fn sdp(&self) -> String {
        let port = self.socket.local_addr().unwrap().port();
        format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
        )
    }

    fn told(&mut self, sdp: &[u8]) {
        let text = String::from_utf8_lossy(sdp);
        let port = text.lines().find_map(|line| line.strip_prefix("m=audio ")).and_then(|line| line.split(' ').next()).unwrap();
        self.relay = ([127, 0, 0, 1], port.parse().unwrap()).into();
    }

    fn say(&mut self) {
        let mut packet = vec![0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, self.ssrc];
        packet[2..4].copy_from_slice(&self.sent.to_be_bytes());
        packet[4..8].copy_from_slice(&(u32::from(self.sent) * FRAME as u32).to_be_bytes());
        packet.extend([self.code; FRAME]);
        self.sent += 1;
        self.socket.send_to(&packet, self.relay).unwrap();
    }

    /// What has come: the payloads that are waiting.
    fn heard(&self) -> Vec<Vec<u8>> {
        let (mut heard, mut buffer) = (Vec::new(), [0; 2_000]);
        self.socket.set_nonblocking(true).unwrap();
        while let Ok(len) = self.socket.recv(&mut buffer) {
            heard.push(buffer[12..len].to_vec());
        }
        heard
    }
}

/// What somebody hears, told by the payload.
#[derive(Debug, PartialEq, Eq)]
enum Sound {
    Nothing,
    /// The code of one party, as it said it.
    Party(u8),
    /// Something that the node made: music, noise or a mix.
    Made,
}

pub(super) struct Call {
    pub(super) node: Node,
    pub(super) leg: LegId,
    agent: LegId,
    /// The caller's and the agent's.
    audio: Vec<Audio>,
    folder: tempfile::TempDir,
    peers: Vec<Peer>,
}

fn relay(folder: &std::path::Path) -> Arc<media::Relay> {
    let probe = UdpSocket::bind("127.0.0.1:0").unwrap();
    let start = probe.local_addr().unwrap().port().min(64_000) & !1;
    let options = media::Options {
        ports: start..=start + 199,
        recordings: Some(folder.join("recordings")),
        ..media::Options::new("127.0.0.1".parse().unwrap())
    };
    Arc::new(media::Relay::start(options).unwrap())
}

fn ring(audio: &str, at: SocketAddr, aside: bool) -> Ring {
    Ring {
        target: Target::Contact { uri: format!("sip:alice@{at}") },
        caller: Party { user: "100".into(), display: "Anna".into(), uri: "sip:100@example".into() },
        queue: None,
        trunk: None,
        sdp: Some(Sdp::from(audio.as_bytes().to_vec())),
        headers: Vec::new(),
        max_forwards: 69,
        anchored: true,
        aside,
    }
}

impl Call {
    /// A caller and an agent that talk through the relay.
    async fn talking() -> Self {
        Self::talking_beside(None).await
    }

    /// The same at a node that has this for its AI.
    pub(super) async fn talking_beside(brain: Option<Arc<dyn Brain>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let node = Node::with_media(1, demo(trunk(&["127.0.0.0/8"])), relay(folder.path()), brain).await;
        let (caller, phone) = (Peer::new().await, Peer::new().await);
        let (mut one, mut other) = (Audio::new(0x11), Audio::new(0x22));
        let udp = node.addr(Transport::Udp);
        caller.send(udp, caller.request("INVITE", "sip:support@demo", "c1", "", &one.sdp())).await;
        let arrive = node.arrival().await;
        assert!(arrive.anchored);
        let leg = LegId::caller(arrive.call);
        let agent = LegId { n: 1, ..leg };
        node.order(agent, Action::ring(ring(&one.sdp(), phone.addr, false)));
        let (invite, edge) = phone.wait("INVITE", |m| m.method() == Method::Invite).await;
        other.told(&invite.body);
        phone.send(edge, response(&invite, 200, &format!("sip:alice@{}", phone.addr), "", &other.sdp())).await;
        let sdp = node.report(agent, |event| if let LegEvent::Answered { sdp, .. } = event { Some(sdp.clone()) } else { None }).await;
        node.order(leg, Action::Answer { peer: agent, sdp });
        one.told(&caller.status(200).await.body);
        Self { node, leg, agent, audio: vec![one, other], folder, peers: vec![caller, phone] }
    }

    /// A third phone answers, for a leg whose place is the plan's.
    async fn supervised(&mut self) {
        let (phone, mut audio) = (Peer::new().await, Audio::new(0x33));
        let leg = LegId { n: 2, ..self.leg };
        self.node.order(leg, Action::ring(ring(&self.audio[0].sdp(), phone.addr, true)));
        let (invite, edge) = phone.wait("INVITE", |m| m.method() == Method::Invite).await;
        audio.told(&invite.body);
        phone.send(edge, response(&invite, 200, &format!("sip:boss@{}", phone.addr), "", &audio.sdp())).await;
        self.node.report(leg, |event| matches!(event, LegEvent::Answered { .. }).then_some(())).await;
        self.audio.push(audio);
        self.peers.push(phone);
    }

    fn plan(&self, version: u32, legs: &[(u16, Hears)], taping: Taping) {
        let legs: std::collections::BTreeMap<_, _> = legs.iter().cloned().collect();
        let plan = Plan { version, taped: vec![0, 1], legs, taping, hearing: None };
        self.node.order(self.leg, Action::Media(Arc::new(plan)));
    }

    /// Lets everybody speak until all hear what is expected for ten frames on end.
    async fn hear(&mut self, expected: &[Sound]) {
        let give_up = Instant::now() + PATIENCE;
        let mut steady = 0;
        while steady < 10 {
            assert!(Instant::now() < give_up, "in vain: {expected:?}, at last {:?}", self.sounds().await);
            steady = if self.sounds().await == expected { steady + 1 } else { 0 };
        }
    }

    /// Everybody says a code of its own for some frames.
    pub(super) async fn say(&mut self, codes: &[u8], frames: usize) {
        for (audio, code) in self.audio.iter_mut().zip(codes) {
            audio.code = *code;
        }
        for _ in 0..frames {
            self.sounds().await;
        }
    }

    /// Everybody says a frame; what everybody heard last meanwhile.
    async fn sounds(&mut self) -> Vec<Sound> {
        for audio in &mut self.audio {
            audio.say();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        let codes: Vec<u8> = self.audio.iter().map(|audio| audio.code).collect();
        let sound = |payload: &Vec<u8>| match codes.iter().find(|code| payload.iter().all(|got| got == *code)) {
            Some(code) => Sound::Party(*code),
            None => Sound::Made,
        };
        self.audio.iter().map(|audio| audio.heard().last().map_or(Sound::Nothing, sound)).collect()
    }
}

#[tokio::test]
async fn a_caller_on_hold_hears_music_and_its_agent_no_word_of_it_until_it_is_resumed() {
    let mut call = Call::talking().await;
    call.hear(&[Sound::Party(0x22), Sound::Party(0x11)]).await;
    call.plan(1, &[(0, Hears::Music(None)), (1, Hears::Legs(vec![]))], Taping::Off);
    call.hear(&[Sound::Made, Sound::Made]).await;
    call.plan(2, &[(0, Hears::Legs(vec![1])), (1, Hears::Legs(vec![0]))], Taping::Off);
    call.hear(&[Sound::Party(0x22), Sound::Party(0x11)]).await;
}

#[tokio::test]
async fn both_legs_are_recorded_with_their_masked_window_and_the_core_is_told_of_each_file() {
    let mut call = Call::talking().await;
    let both = [(0, Hears::Legs(vec![1])), (1, Hears::Legs(vec![0]))];
    call.hear(&[Sound::Party(0x22), Sound::Party(0x11)]).await;
    for (version, masked) in [(1, false), (2, true), (3, false)] {
        call.plan(version, &both, Taping::On { part: 1, masked });
        // The plan needs a moment to arrive; what is said then is neither secret nor anything else.
        call.say(&[SILENCE; 2], 3).await;
        let codes = if masked { [SECRET; 2] } else { [0x11, 0x22] };
        call.say(&codes, 15).await;
        call.say(&[SILENCE; 2], 3).await;
    }
    call.plan(4, &both, Taping::Off);
    let saved = |leg: LegId| {
        let commands = call.node.fake.commands.lock();
        commands.iter().find_map(|command| match command {
            Command::Recorded { leg: of, part: 1, saved, .. } if *of == leg => Some(saved.clone()),
            _ => None,
        })
    };
    for leg in [call.leg, call.agent] {
        let Some(Saved { ms, masked }) = until("the file to be told", || saved(leg)).await else { panic!("not saved") };
        let [(from, to)] = masked[..] else { panic!("{masked:?}") };
        assert!(from >= 200 && to >= from + 200 && ms >= to + 200, "{from} {to} {ms}");
        let path = call.folder.path().join("recordings").join(tape::file(&"demo".into(), leg, 1));
        let samples: Vec<i16> = hound::WavReader::open(path).unwrap().samples().map(Result::unwrap).collect();
        assert_eq!(samples.len() as u64, ms * 8);
        let loud = |from: u64, to: u64| samples[from as usize * 8..to as usize * 8].iter().filter(|sample| **sample < -1_000).count();
        assert!(loud(0, from) > 800 && loud(from, ms) > 800, "what was said is there");
        assert!(samples.iter().all(|sample| *sample > -30_000), "and what was masked is not");
    }
}

#[tokio::test]
async fn a_supervisor_hears_both_and_is_heard_by_whom_its_mode_says() {
    let mut call = Call::talking().await;
    call.supervised().await;
    let (caller, agent) = (Sound::Party(0x11), Sound::Party(0x22));
    let legs =
        |caller: &[u16], agent: &[u16]| [(0, Hears::Legs(caller.to_vec())), (1, Hears::Legs(agent.to_vec())), (2, Hears::Legs(vec![0, 1]))];
    call.plan(1, &legs(&[1], &[0]), Taping::Off);
    call.hear(&[Sound::Party(0x22), Sound::Party(0x11), Sound::Made]).await;
    call.plan(2, &legs(&[1], &[0, 2]), Taping::Off);
    call.hear(&[agent, Sound::Made, Sound::Made]).await;
    call.plan(3, &legs(&[1, 2], &[0, 2]), Taping::Off);
    call.hear(&[Sound::Made, Sound::Made, Sound::Made]).await;
    // It hangs up, and the two go on as if nobody had been there.
    call.node.order(LegId { n: 2, ..call.leg }, Action::HangUp { cause: "ended".into() });
    call.plan(4, &[(0, Hears::Legs(vec![1])), (1, Hears::Legs(vec![0]))], Taping::Off);
    call.audio.truncate(2);
    call.hear(&[Sound::Party(0x22), caller]).await;
}
