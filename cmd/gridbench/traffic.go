package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/wire"
)

// An entry is one reading as it was sent.
type entry struct {
	meter    string
	register gridloom.RegisterID
	start    gridloom.Millis
	length   gridloom.Millis
	value    int64 // thousandths
	order    gridloom.Order
}

// A message is one batch and the bytes that carry it.
type message struct {
	entries []entry
	payload []byte
	sentAt  time.Time // for the first time
}

// The registers that the traffic uses, one of each kind and a second gauge.
type trafficRegisters struct{ energy, interval, power, voltage gridloom.RegisterID }

func lookUpRegisters() (r trafficRegisters, err error) {
	for name, id := range map[string]*gridloom.RegisterID{
		"energy_import": &r.energy, "energy_import_interval": &r.interval, "power_import": &r.power, "voltage_l1": &r.voltage,
	} {
		found, ok := gridloom.RegisterByName(name)
		if !ok {
			return r, fmt.Errorf("no register %s", name)
		}
		*id = found
	}
	return r, nil
}

// traffic makes the batches of one agent. Half of its meters tell of the last
// days, faster than time, so that windows fill and close; the others speak of
// now, so that windows stay open across a crash. Of a hundred batches about ten
// are held back and sent out of order, three are sent twice, two say again what
// was said before and two correct it.
type traffic struct {
	agent     string
	epoch     uint32
	seq       uint32
	rng       *rand.Rand
	reg       trafficRegisters
	meters    []*meter
	exchanged int // meters that ran out of past and were replaced
	held      []heldMessage
	now       func() gridloom.Millis
}

type meter struct {
	id         string
	past       bool
	at         gridloom.Millis // of its newest reading
	intervalAt gridloom.Millis // where its next interval starts
	energy     int64
	recent     []entry // what it may say again
}

type heldMessage struct {
	message
	left int // batches to let pass
}

// How far back the meters of the past begin, and how near to now they end.
const (
	pastBegins = 20 * gridloom.Day
	pastEnds   = 2 * gridloom.Hour // more than a batch without gaps goes through
)

// readingsPerBatch is about how many readings a batch holds.
const readingsPerBatch = 100

// keepRecent is how many readings a meter remembers for repeats and corrections.
const keepRecent = 64

func newTraffic(agent string, epoch uint32, meters int, seed uint64, reg trafficRegisters) *traffic {
	t := &traffic{
		agent: agent, epoch: epoch, reg: reg, rng: rand.New(rand.NewPCG(seed, 0x6c6f6f6d)),
		now: func() gridloom.Millis { return gridloom.MillisOf(time.Now()) },
	}
	for i := range meters {
		t.meters = append(t.meters, t.newMeter(i%2 == 0))
	}
	return t
}

func (t *traffic) newMeter(past bool) *meter {
	m := &meter{id: fmt.Sprintf("%s-%d", t.agent, len(t.meters)+t.exchanged), past: past, at: t.now(), energy: wrapsAt + t.rng.Int64N(wrapsAt)}
	if past {
		m.energy = wrapsAt - t.rng.Int64N(wrapsAt/5)
		m.at -= pastBegins - gridloom.Millis(t.rng.Int64N(int64(gridloom.Hour)))
	}
	// Intervals do not begin where windows do, so that some are shared between two.
	m.intervalAt = m.at.Floor(5*gridloom.Minute) + 2*gridloom.Minute
	return m
}

// next returns the batches to send next, usually one.
func (t *traffic) next() []message {
	m := t.batch()
	var out []message
	for i := range t.held {
		t.held[i].left--
	}
	t.held = slices.DeleteFunc(t.held, func(h heldMessage) bool {
		if h.left <= 0 {
			out = append(out, h.message)
		}
		return h.left <= 0
	})
	switch p := t.rng.IntN(100); {
	case p < 10:
		t.held = append(t.held, heldMessage{m, 1 + t.rng.IntN(10)})
	case p < 13:
		out = append(out, m, m)
	default:
		out = append(out, m)
	}
	return out
}

// rest returns the batches that are still held back.
func (t *traffic) rest() []message {
	var out []message
	for _, h := range t.held {
		out = append(out, h.message)
	}
	t.held = nil
	return out
}

// batch makes a batch of one meter and encodes it.
func (t *traffic) batch() message {
	i := t.rng.IntN(len(t.meters))
	m := t.meters[i]
	var es []entry
	switch p := t.rng.IntN(100); {
	case p < 2:
		es = t.again(m, false)
	case p < 4:
		es = t.again(m, true)
	}
	fresh := len(es) == 0
	if fresh {
		es = t.fresh(m)
	}
	if m.past && m.at > t.now()-pastEnds {
		t.exchanged++
		t.meters[i] = t.newMeter(true)
	}
	if t.rng.IntN(4) == 0 {
		t.rng.Shuffle(len(es), func(a, b int) { es[a], es[b] = es[b], es[a] })
	}
	t.seq++
	return t.encode(es, fresh)
}

// wrapsAt is where registers begin again, those of three digits of kWh.
const wrapsAt = 1_000_000_000

// fresh lets the meter go on.
func (t *traffic) fresh(m *meter) []entry {
	var es []entry
	add := func(id gridloom.RegisterID, start, length gridloom.Millis, v int64) {
		es = append(es, entry{meter: m.id, register: id, start: start, length: length, value: v})
	}
	for len(es) < readingsPerBatch {
		m.at = t.step(m)
		m.energy += t.rng.Int64N(20_000)
		if m.past && m.energy >= wrapsAt {
			m.energy -= wrapsAt
		}
		v := m.energy
		switch t.rng.IntN(2000) {
		case 0:
			v = max(0, v-1_000_000) // a small step back: suspect, and never energy
		case 1:
			v = t.rng.Int64N(1000) // one wrong sample
		case 2:
			v += 90_000_000
		case 3:
			if m.past { // one of the present would be undecided for a quarter of an hour
				m.energy = t.rng.Int64N(1000) // it starts again
				v = m.energy
			}
		}
		add(t.reg.energy, m.at, 0, v)
		add(t.reg.power, m.at, 0, t.rng.Int64N(5_000_000)-1_000_000)
		add(t.reg.voltage, m.at, 0, 220_000+t.rng.Int64N(20_000))
		for m.intervalAt+5*gridloom.Minute <= m.at {
			if m.at-m.intervalAt > gridloom.Hour { // a gap in the meter's time is one in its intervals
				m.intervalAt = m.at.Floor(5*gridloom.Minute) - 3*gridloom.Minute
				continue
			}
			add(t.reg.interval, m.intervalAt, 5*gridloom.Minute, t.rng.Int64N(500_000))
			if t.rng.IntN(50) == 0 { // a longer one over the same time, which must not add up
				add(t.reg.interval, m.intervalAt-10*gridloom.Minute, 15*gridloom.Minute, t.rng.Int64N(1_500_000))
			}
			m.intervalAt += 5 * gridloom.Minute
		}
	}
	m.recent = append(m.recent, es...)
	m.recent = m.recent[max(0, len(m.recent)-keepRecent):]
	return es
}

// step returns the meter's next instant: a minute or so on, now and then after a
// gap, for a meter of the past; now, but never the same instant twice, for one of the present.
func (t *traffic) step(m *meter) gridloom.Millis {
	if !m.past {
		return max(m.at+1, t.now())
	}
	at := m.at + 30*gridloom.Second + gridloom.Millis(t.rng.Int64N(60_000))
	var gap gridloom.Millis
	switch t.rng.IntN(1000) {
	case 0:
		gap = gridloom.Millis(t.rng.Int64N(int64(90 * gridloom.Minute))) // within the bridging limit
	case 1:
		gap = 2*gridloom.Hour + gridloom.Millis(t.rng.Int64N(int64(4*gridloom.Hour))) // beyond it
	}
	if at+gap > t.now()-pastEnds {
		return at // a gap must not lead into the future, of which nothing is taken
	}
	return at + gap
}

// again repeats some of what the meter said last, with other values if correct.
func (t *traffic) again(m *meter, correct bool) []entry {
	var es []entry
	seen := map[gridloom.Identity]bool{}
	for _, e := range m.recent {
		id := gridloom.Identity{Series: gridloom.Series{Meter: e.meter, Register: e.register}, Start: e.start, Length: e.length}
		if t.rng.IntN(3) > 0 || seen[id] {
			continue
		}
		seen[id] = true
		es = append(es, e)
	}
	if !correct {
		return es
	}
	for i := range es {
		es[i].value += 1 + t.rng.Int64N(500)
		m.replace(es[i])
	}
	return es
}

// replace makes a later repeat say the corrected value: of one identity the
// readings of one agent only differ where a later batch means it.
func (m *meter) replace(e entry) {
	for i := range m.recent {
		r := &m.recent[i]
		if r.register == e.register && r.start == e.start && r.length == e.length {
			r.value = e.value
		}
	}
}

// encode turns entries into a message in one of the encodings and gives them
// their order. Only what is said for the first time may go without one: of
// readings without order the last to arrive counts, and after a crash nobody
// knows which that was.
func (t *traffic) encode(es []entry, fresh bool) message {
	order := gridloom.NewOrder(gridloom.ClassDevice, t.epoch, t.seq)
	var payload []byte
	switch t.rng.IntN(4) {
	case 0:
		payload = t.appendJSON(payload, es, true)
	case 1:
		if fresh {
			order = 0
			payload = t.appendJSON(payload, es, false)
			break
		}
		fallthrough
	default:
		payload = t.appendProtobuf(payload, es)
	}
	for i := range es {
		es[i].order = order
	}
	return message{entries: es, payload: payload}
}

func (t *traffic) appendJSON(dst []byte, es []entry, ordered bool) []byte {
	if ordered {
		dst = fmt.Appendf(dst, `{"agent":%q,"epoch":%d,"seq":%d,"readings":`, t.agent, t.epoch, t.seq)
	}
	for i, e := range es {
		sep := byte(',')
		if i == 0 {
			sep = '['
		}
		dst = append(dst, sep)
		at := strconv.FormatInt(int64(e.start), 10)
		if i%2 == 0 {
			at = `"` + e.start.String() + `"`
		}
		dst = fmt.Appendf(dst, `{"meter":%q,"register":%q,"at":%s,"value":%s`, e.meter, e.register.Info().Alias, at, thousandths(e.value))
		if e.length > 0 {
			dst = fmt.Appendf(dst, `,"length":"%dm"`, e.length/gridloom.Minute)
		}
		dst = append(dst, '}')
	}
	dst = append(dst, ']')
	if ordered {
		dst = append(dst, '}')
	}
	return dst
}

func (t *traffic) appendProtobuf(dst []byte, es []entry) []byte {
	var c wire.Columns
	c.Reset()
	c.Agents = append(c.Agents, t.agent)
	meters := map[string]uint32{}
	for _, e := range es {
		m, ok := meters[e.meter]
		if !ok {
			m = uint32(len(c.Meters))
			meters[e.meter] = m
			c.Meters = append(c.Meters, e.meter)
		}
		c.Meter, c.Register = append(c.Meter, m), append(c.Register, e.register)
		c.Start, c.Length = append(c.Start, e.start), append(c.Length, e.length)
		c.Value, c.Void, c.Quality = append(c.Value, e.value), append(c.Void, false), append(c.Quality, 0)
		c.Order = append(c.Order, gridloom.NewOrder(gridloom.ClassDevice, t.epoch, t.seq))
		c.Agent, c.Serial = append(c.Agent, 1), append(c.Serial, 0)
	}
	return wire.AppendBatch(dst, &wire.Batch{Agent: t.agent, Epoch: t.epoch, Seq: t.seq, HasOrder: true, Columns: &c})
}

// thousandths prints v as a decimal of three places.
func thousandths(v int64) string {
	sign := ""
	if v < 0 {
		sign, v = "-", -v
	}
	return fmt.Sprintf("%s%d.%03d", sign, v/1000, v%1000)
}
