package ingest

// outcome is what became of one message.
type outcome uint8

const (
	stored       outcome = iota // everything is in the log or, where bad, in rejects
	badPayload                  // nothing in it was good; it is in rejects
	badTopic                    // not a topic for readings; it is in rejects
	notTheSender                // not the agent it claims to be; it is in rejects
	withheld                    // not stored: no answer, the connection is closed
)

// version is an MQTT protocol level: 3 (3.1), 4 (3.1.1) or 5.
type version = byte

// Reason codes of MQTT 5 and return codes of 3.1.1 that ingest sends.
const (
	codeSuccess         byte = 0x00
	codeNotAuthorized   byte = 0x87
	codeServerBusy      byte = 0x89
	codeShuttingDown    byte = 0x8B
	codeTopicInvalid    byte = 0x90
	codeQuotaExceeded   byte = 0x97
	codePayloadInvalid  byte = 0x99
	codeBadClientID     byte = 0x85
	codeBadCredentials  byte = 0x86
	codeUnavailable     byte = 0x88
	return3BadClientID  byte = 0x02
	return3Unavailable  byte = 0x03
	return3BadUser      byte = 0x04
	return3NotAuthorise byte = 0x05
)

// answerOf is the one table of answers to a publish: the code of its PUBACK (or
// PUBREC), or false if there is none because the message is not stored. MQTT 3.1.1
// has no codes: there, bad content is acknowledged like good content, because it is
// kept in rejects and must not block what is behind it.
func answerOf(v version, o outcome) (code byte, ok bool) {
	switch o {
	case withheld:
		return 0, false
	case stored:
		return codeSuccess, true
	case badPayload:
		code = codePayloadInvalid
	case badTopic:
		code = codeTopicInvalid
	case notTheSender:
		code = codeNotAuthorized
	}
	if v < 5 {
		code = codeSuccess
	}
	return code, true
}

// refusal is why a CONNECT is refused; its text is the label of the counter.
type refusal string

const (
	refusedFull        refusal = "connections" // as many connections as configured
	refusedCredentials refusal = "credentials"
	refusedClientID    refusal = "client_id"
	refusedWill        refusal = "will" // a will that is not the agent's own state
	refusedClosing     refusal = "closing"
	refusedMalformed   refusal = "malformed" // no proper CONNECT in time: closed without an answer
)

// connackOf is the one table of answers to a refused CONNECT.
func connackOf(v version, r refusal) byte {
	five := v >= 5
	pick := func(code5, return3 byte) byte {
		if five {
			return code5
		}
		return return3
	}
	switch r {
	case refusedFull:
		return pick(codeQuotaExceeded, return3Unavailable)
	case refusedCredentials:
		return pick(codeBadCredentials, return3BadUser)
	case refusedClientID:
		return pick(codeBadClientID, return3BadClientID)
	case refusedWill:
		return pick(codeTopicInvalid, return3NotAuthorise)
	default: // refusedClosing; refusedMalformed gets no answer
		return pick(codeUnavailable, return3Unavailable)
	}
}
