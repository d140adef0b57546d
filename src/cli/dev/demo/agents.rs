//! The synthetic agents: phones that ring, answer, talk for a while and hang up.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::net::UdpSocket;

use super::{
    RING_MS, TALK_MS,
    sip::{self, Message, SDP},
    some_ms, some_name,
};

/// How often the phones look at their clocks.
const TICK: Duration = Duration::from_millis(100);
/// A 200 or BYE without an answer is sent again this often.
const REPEAT: Duration = Duration::from_millis(500);
/// How often it is sent at most.
const REPEATS_MAX: u32 = 8;

/// Where a phone is in a call.
#[derive(Debug)]
enum State {
    Ringing {
        until: Instant,
    },
    /// 200 sent, ACK awaited.
    Answered {
        again: Instant,
        sent: u32,
    },
    Talking {
        until: Instant,
    },
    /// BYE sent.
    Leaving {
        again: Instant,
        sent: u32,
    },
}

#[derive(Debug)]
struct Phone {
    invite: Message,
    from: SocketAddr,
    tag: String,
    contact: String,
    state: State,
}

pub(super) async fn run(socket: UdpSocket) {
    let mut phones: BTreeMap<String, Phone> = BTreeMap::new();
    let mut buffer = vec![0; 65_535];
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            received = socket.recv_from(&mut buffer) => {
                let Ok((length, from)) = received else { continue };
                if let Some(message) = Message::parse(&buffer[..length]) {
                    for out in receive(&mut phones, message, from) {
                        socket.send_to(&out, from).await.ok();
                    }
                }
            }
            now = tick.tick() => {
                for (out, to) in advance(&mut phones, now.into_std()) {
                    socket.send_to(&out, to).await.ok();
                }
            }
        }
    }
}

/// What a phone says to a message, a datagram each; nothing to responses and ACK.
fn receive(phones: &mut BTreeMap<String, Phone>, message: Message, from: SocketAddr) -> Vec<Vec<u8>> {
    let id = message.get("call-id").to_owned();
    match (message.method(), phones.get_mut(&id)) {
        ("INVITE", None) => {
            let contact = message.first.split(' ').nth(1).unwrap_or_default().to_owned();
            let tag = some_name();
            let out = message.answer("180 Ringing", &tag, &contact, "");
            let state = State::Ringing { until: Instant::now() + some_ms(RING_MS) };
            phones.insert(id, Phone { invite: message, from, tag, contact, state });
            vec![out]
        }
        // A repeated INVITE rings again; one within the call changes nothing about audio that nobody hears.
        ("INVITE", Some(phone)) => {
            let ringing = matches!(phone.state, State::Ringing { .. });
            let (status, body) = if ringing { ("180 Ringing", "") } else { ("200 OK", SDP) };
            vec![message.answer(status, &phone.tag, &phone.contact, body)]
        }
        ("ACK", Some(phone)) => {
            if matches!(phone.state, State::Answered { .. }) {
                phone.state = State::Talking { until: Instant::now() + some_ms(TALK_MS) };
            }
            Vec::new()
        }
        ("CANCEL", Some(phone)) if matches!(phone.state, State::Ringing { .. }) => {
            let heard = message.answer("200 OK", &phone.tag, &phone.contact, "");
            let ended = phone.invite.answer("487 Request Terminated", &phone.tag, &phone.contact, "");
            phones.remove(&id);
            vec![heard, ended]
        }
        ("BYE", _) => {
            let tag = phones.remove(&id).map_or_else(String::new, |phone| phone.tag);
            vec![message.answer("200 OK", &tag, "sip:demo@127.0.0.1", "")]
        }
        ("", Some(phone)) => {
            if message.about() == "BYE" && message.status() >= Some(200) && matches!(phone.state, State::Leaving { .. }) {
                phones.remove(&id);
            }
            Vec::new()
        }
        ("" | "ACK", None) => Vec::new(),
        (method, phone) => {
            let status = if phone.is_some() || method == "OPTIONS" { "200 OK" } else { "481 Call/Transaction Does Not Exist" };
            let tag = phone.map_or_else(some_name, |phone| phone.tag.clone());
            vec![message.answer(status, &tag, "sip:demo@127.0.0.1", "")]
        }
    }
}

/// What the phones say because time has passed.
fn advance(phones: &mut BTreeMap<String, Phone>, now: Instant) -> Vec<(Vec<u8>, SocketAddr)> {
    let mut out = Vec::new();
    let mut gone = Vec::new();
    for (id, phone) in phones.iter_mut() {
        match phone.state {
            State::Ringing { until } if until <= now => {
                phone.state = State::Answered { again: now + REPEAT, sent: 1 };
                out.push((phone.invite.answer("200 OK", &phone.tag, &phone.contact, SDP), phone.from));
            }
            State::Answered { again, sent } if again <= now => {
                if sent == REPEATS_MAX {
                    gone.push(id.clone());
                    continue;
                }
                phone.state = State::Answered { again: now + REPEAT, sent: sent + 1 };
                out.push((phone.invite.answer("200 OK", &phone.tag, &phone.contact, SDP), phone.from));
            }
            State::Talking { until } if until <= now => {
                phone.state = State::Leaving { again: now + REPEAT, sent: 1 };
                out.push((phone.bye(), phone.from));
            }
            State::Leaving { again, sent } if again <= now => {
                if sent == REPEATS_MAX {
                    gone.push(id.clone());
                    continue;
                }
                phone.state = State::Leaving { again: now + REPEAT, sent: sent + 1 };
                out.push((phone.bye(), phone.from));
            }
            _ => {}
        }
    }
    for id in gone {
        phones.remove(&id);
    }
    out
}

impl Phone {
    /// Our BYE: the same branch each time, so that a repeat is a retransmission.
    fn bye(&self) -> Vec<u8> {
        let host = self.contact.split('@').nth(1).unwrap_or("127.0.0.1");
        let fields = [
            format!("via: SIP/2.0/UDP {host};branch=z9hG4bK{}bye;rport", self.tag),
            format!("from: {};tag={}", self.invite.get("to"), self.tag),
            format!("to: {}", self.invite.get("from")),
            format!("call-id: {}", self.invite.get("call-id")),
            "cseq: 1 BYE".to_owned(),
        ];
        sip::request("BYE", self.invite.contact(), &fields, "")
    }
}
