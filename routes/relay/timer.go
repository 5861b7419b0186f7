package relay

import (
	"crypto/sha256"
	"encoding/json"
	"strconv"

	"github.com/google/uuid"

	"caruban/contracts"
	"caruban/routes/ledger"
)

// TimerType is the contract of a fired timer.
const TimerType = "caruban.timer.fired.v1"

// timer makes the message of a due timer. Its id comes from the timer, so firing twice is one message.
func (r *Relay) timer(t ledger.Timer) ledger.Planned {
	sum := sha256.Sum256([]byte(t.Manager + "\x00" + t.Case + "\x00" + t.Name + "\x00" + strconv.FormatInt(t.At.UnixNano(), 10)))
	id, _ := uuid.FromBytes(sum[:16])
	data, _ := json.Marshal(map[string]string{"name": t.Name, "rule": t.Rule, "at": t.At.UTC().Format("2006-01-02T15:04:05.999999999Z")})
	consumer := "manager:" + t.Manager
	return ledger.Planned{
		Entry: contracts.Entry{
			Message: contracts.Message{Envelope: contracts.Envelope{
				SpecVersion: "1.0", ID: id.String(), Source: consumer, Type: TimerType, Time: t.At.UTC(), Subject: t.Name,
				DataContentType: "application/json", CaseRef: t.Case, Classification: contracts.P1,
			}, Sealed: data},
			System: consumer, Ref: id.String(),
		},
		Deliveries: []ledger.Plan{{Consumer: consumer, Lane: t.Case}},
	}
}
