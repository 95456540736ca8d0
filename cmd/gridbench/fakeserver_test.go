package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/wire"
)

// A fakeServer takes readings over MQTT and serves them, keeping all in memory:
// what gridbench is tested against, with the faults that it must find.
type fakeServer struct {
	mqtt net.Listener
	http *httptest.Server

	mu       sync.Mutex
	messages int
	readings map[seriesKey]map[spot]entry // the winners
	breakUp  int                          // close the connection after so many messages, before their PUBACK; 0: never

	trail []servedEdit // oldest first

	// faults, asked for every row that is served
	spoilReading func(r *map[string]any) (copies int)
	spoilWindow  func(r *map[string]any) (copies int)
}

func newFakeServer(t *testing.T) *fakeServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeServer{mqtt: l, readings: map[seriesKey]map[spot]entry{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/readings", f.serveReadings)
	mux.HandleFunc("GET /api/v1/windows", f.serveWindows)
	mux.HandleFunc("GET /api/v1/edits", func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		before, _ := strconv.ParseUint(r.FormValue("before"), 10, 64)
		for _, e := range slices.Backward(f.trail) {
			if before == 0 || e.Edit < before {
				writeCopies(w, map[string]any{"edit": e.Edit, "why": e.Why, "meter": e.Meter, "readings": e.Readings, "undoes": e.Undoes, "undone_by": e.UndoneBy}, nil)
			}
		}
	})
	mux.HandleFunc("GET /api/v1/status", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"partitions":[{"state":"running","lag":0,"next_seq":7,"committed_seq":7}]}`)
	})
	f.http = httptest.NewServer(mux)
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { defer c.Close(); f.serve(c) })
		}
	})
	t.Cleanup(func() { l.Close(); conns.Wait(); f.http.Close() })
	return f
}

func (f *fakeServer) addr() string     { return f.mqtt.Addr().String() }
func (f *fakeServer) httpAddr() string { return strings.TrimPrefix(f.http.URL, "http://") }

func (f *fakeServer) serve(c net.Conn) {
	r := bufio.NewReader(c)
	var decoded wire.Columns
	for {
		kind, body, err := readPacket(r, nil)
		if err != nil {
			return
		}
		switch kind >> 4 {
		case packetConnect:
			c.Write([]byte{packetConnack << 4, 2, 0, 0})
		case packetPublish:
			topic := string(body[2:][:binary.BigEndian.Uint16(body)])
			id := body[2+len(topic):][:2]
			if err := f.take(body[4+len(topic):], &decoded); err != nil {
				panic(err) // gridbench made a bad payload
			}
			if f.breaks() {
				return
			}
			c.Write(append([]byte{packetPuback << 4, 2}, id...))
		}
	}
}

func (f *fakeServer) breaks() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.messages++
	return f.breakUp > 0 && f.messages%f.breakUp == 0
}

func (f *fakeServer) take(payload []byte, c *wire.Columns) error {
	var es []entry
	if payload[0] == '{' || payload[0] == '[' {
		var err error
		if es, err = decodeJSON(payload); err != nil {
			return err
		}
	} else {
		c.Reset()
		b := wire.Batch{Columns: c}
		var refused error
		err := wire.DecodeBatch(payload, &b, func(place, reason, detail string) { refused = errors.New(place + reason + detail) })
		if err := errors.Join(err, refused); err != nil {
			return err
		}
		for i := range c.Len() {
			r := c.Reading(i)
			es = append(es, entry{r.Meter, r.Register, r.Start, r.Length, r.Value, gridloom.NewOrder(gridloom.ClassDevice, b.Epoch, b.Seq)})
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range es {
		f.store(e)
	}
	return nil
}

func (f *fakeServer) store(e entry) {
	k, at := seriesKey{e.meter, e.register}, spot{e.start, e.length}
	if f.readings[k] == nil {
		f.readings[k] = map[spot]entry{}
	}
	if old, ok := f.readings[k][at]; !ok || e.order >= old.order {
		f.readings[k][at] = e
	}
}

// decodeJSON reads the shapes that gridbench sends.
func decodeJSON(payload []byte) ([]entry, error) {
	var batch struct {
		Agent      string
		Epoch, Seq uint32
		Readings   []map[string]json.RawMessage
	}
	if payload[0] == '[' {
		if err := json.Unmarshal(payload, &batch.Readings); err != nil {
			return nil, err
		}
	} else if err := json.Unmarshal(payload, &batch); err != nil {
		return nil, err
	}
	if batch.Readings == nil {
		var one map[string]json.RawMessage
		if err := json.Unmarshal(payload, &one); err != nil {
			return nil, err
		}
		batch.Readings = append(batch.Readings, one)
	}
	var order gridloom.Order
	if batch.Agent != "" {
		order = gridloom.NewOrder(gridloom.ClassDevice, batch.Epoch, batch.Seq)
	}
	var es []entry
	for _, r := range batch.Readings {
		more, err := entriesOf(r, order)
		if err != nil {
			return nil, err
		}
		es = append(es, more...)
	}
	return es, nil
}

func entriesOf(r map[string]json.RawMessage, order gridloom.Order) ([]entry, error) {
	text := func(key string) string { return strings.Trim(string(r[key]), `"`) }
	e := entry{meter: text("meter"), order: order}
	var err error
	if strings.Contains(text("at"), "T") {
		e.start, err = gridloom.ParseInstant(text("at"))
	} else {
		_, err = fmt.Sscan(text("at"), &e.start)
	}
	if err != nil {
		return nil, err
	}
	if e.length, err = parseSpan(text("length")); err != nil {
		return nil, err
	}
	if name := text("register"); name != "" {
		r[name] = r["value"]
	}
	var es []entry
	for key, value := range r {
		id, ok := gridloom.RegisterByName(key)
		if !ok {
			continue
		}
		e.register = id
		if e.value, err = parseThousandths(string(value)); err != nil {
			return nil, err
		}
		es = append(es, e)
	}
	return es, nil
}

func (f *fakeServer) serveReadings(w http.ResponseWriter, r *http.Request) {
	f.eachSeries(r, func(k seriesKey, from, to gridloom.Millis, es map[spot]entry) {
		for at, e := range es {
			if at.start+max(at.length, 1) <= from || at.start >= to {
				continue
			}
			row := map[string]any{
				"meter": k.meter, "register": k.register.Info().Alias, "start": at.start.String(),
				"length": spanOrNull(at.length), "value": json.Number(thousandths(e.value)),
			}
			writeCopies(w, row, f.spoilReading)
		}
	})
}

func (f *fakeServer) serveWindows(w http.ResponseWriter, r *http.Request) {
	f.eachSeries(r, func(k seriesKey, from, to gridloom.Millis, es map[spot]entry) {
		var ps []point
		for at, e := range es {
			ps = append(ps, point{at.start, at.length, e.value})
		}
		kind := k.register.Info().Kind
		for start, p := range expectWindows(kind, gridloom.DefaultWidth, gridloom.DefaultBridge, ps) {
			if start < from || start >= to {
				continue
			}
			writeCopies(w, windowRow(k, start, p), f.spoilWindow)
		}
	})
}

func windowRow(k seriesKey, start gridloom.Millis, p *expected) map[string]any {
	row := map[string]any{
		"meter": k.meter, "register": k.register.Info().Alias, "start": start.String(), "n": p.n, "coverage_ms": p.coverage,
		"energy": nil, "sum": nil, "min": nil, "max": nil, "mean": nil,
	}
	kind := k.register.Info().Kind
	if kind <= gridloom.Interval {
		row["energy"] = json.Number(thousandths(p.energy))
	}
	if p.n > 0 {
		row["min"], row["max"] = json.Number(thousandths(p.min)), json.Number(thousandths(p.max))
		row["sum"] = json.Number(thousandths(p.sum))
	}
	if kind == gridloom.Gauge && p.coverage > 0 {
		row["mean"] = json.Number(thousandths(p.weighted / int64(p.coverage)))
	}
	return row
}

func spanOrNull(d gridloom.Millis) any {
	if d == 0 {
		return nil
	}
	return fmt.Sprintf("%dm", d/gridloom.Minute)
}

func (f *fakeServer) eachSeries(r *http.Request, fn func(k seriesKey, from, to gridloom.Millis, es map[spot]entry)) {
	meters := strings.Split(r.FormValue("meters"), ",")
	from, err := gridloom.ParseInstant(r.FormValue("from"))
	if err != nil {
		panic(err)
	}
	to, err := gridloom.ParseInstant(r.FormValue("to"))
	if err != nil {
		panic(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for k, es := range f.readings {
		if slices.Contains(meters, k.meter) {
			fn(k, from, to, es)
		}
	}
}

func writeCopies(w io.Writer, row map[string]any, spoil func(*map[string]any) int) {
	copies := 1
	if spoil != nil {
		copies = spoil(&row)
	}
	line, err := json.Marshal(row)
	if err != nil {
		panic(err)
	}
	for range copies {
		w.Write(append(line, '\n'))
	}
}
