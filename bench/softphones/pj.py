"""A PJSIP softphone without sound card, driven by lines: `call URI`, `hangup`, `heard` on standard input; what happens on
standard output. It answers what rings. Used by `tandem-bench survival softphones`.

    pj.py SIP-PORT
"""

import sys
import threading
import time

import pjsua2 as pj


def say(text):
    print(text, flush=True)


class Call(pj.Call):
    def onCallState(self, prm):
        info = self.getInfo()
        if info.state == pj.PJSIP_INV_STATE_EARLY:
            say(f"early {info.lastStatusCode}")
        elif info.state == pj.PJSIP_INV_STATE_CONFIRMED:
            say("established")
        elif info.state == pj.PJSIP_INV_STATE_DISCONNECTED:
            say(f"closed {info.lastStatusCode} {info.lastReason}")

    def onCallMediaState(self, prm):
        for index, media in enumerate(self.getInfo().media):
            if media.type == pj.PJMEDIA_TYPE_AUDIO and self.getMedia(index):
                tone.startTransmit(pj.AudioMedia.typecastFromMedia(self.getMedia(index)))


class Account(pj.Account):
    def onIncomingCall(self, prm):
        call = Call(self, prm.callId)
        calls.append(call)
        answer = pj.CallOpParam()
        answer.statusCode = 200
        call.answer(answer)


def obey(account, line):
    word, _, rest = line.strip().partition(" ")
    if word == "call":
        call = Call(account)
        calls.append(call)
        call.makeCall(rest, pj.CallOpParam(True))
    elif word == "hangup" and calls:
        calls[-1].hangup(pj.CallOpParam(True))
    elif word == "heard" and calls:
        say(f"heard {calls[-1].getStreamStat(0).rtcp.rxStat.pkt}")


def read(lines):
    for line in sys.stdin:
        lines.append(line)
    lines.append(None)


port = int(sys.argv[1])
calls = []
config = pj.EpConfig()
config.logConfig.level = config.logConfig.consoleLevel = 0
# Everything happens in the main thread, so that nothing is called from two.
config.uaConfig.threadCnt = 0
config.uaConfig.mainThreadOnly = True
config.medConfig.noVad = True
endpoint = pj.Endpoint()
endpoint.libCreate()
endpoint.libInit(config)
transport = pj.TransportConfig()
transport.port = port
transport.boundAddress = transport.publicAddress = "127.0.0.1"
endpoint.transportCreate(pj.PJSIP_TRANSPORT_UDP, transport)
endpoint.libStart()
endpoint.audDevManager().setNullDev()
tone = pj.ToneGenerator()
tone.createToneGenerator(8000, 1)
note = pj.ToneDesc()
note.freq1, note.on_msec, note.off_msec = 440, 1000, 0
tone.play(pj.ToneDescVector([note]), True)
account_config = pj.AccountConfig()
account_config.idUri = f"sip:soft@127.0.0.1:{port}"
account_config.regConfig.registerOnAdd = False
account_config.mediaConfig.transportConfig.boundAddress = "127.0.0.1"
account = Account()
account.create(account_config)
lines = []
threading.Thread(target=read, args=(lines,), daemon=True).start()
say("ready")
while True:
    endpoint.libHandleEvents(10)
    while lines:
        line = lines.pop(0)
        if line is None:
            sys.exit(0)
        try:
            obey(account, line)
        except pj.Error as error:
            say(f"error {error.reason}")
