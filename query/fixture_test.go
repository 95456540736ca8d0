package query

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
	"github.com/gridloom/gridloom/internal/blob"
	"github.com/gridloom/gridloom/internal/blob/faultfs"
	"github.com/gridloom/gridloom/internal/pane"
)

// t0 is 2026-11-22T00:00:00Z.
const t0 gridloom.Millis = 1_795_305_600_000

const testPartitions = 3

func register(t testing.TB, name string) gridloom.RegisterID {
	t.Helper()
	id, ok := gridloom.RegisterByName(name)
	if !ok {
		t.Fatalf("no register %s", name)
	}
	return id
}

// world is a store with owners and heads for testPartitions partitions, and a server over it.
type world struct {
	t      testing.TB
	dir    *blob.Dir
	store  *pane.Store
	cfg    Config
	logged gridloom.Millis // log time of all partitions

	mu           sync.Mutex
	manifests    [testPartitions]pane.Manifest
	tails        [testPartitions]pane.Tail
	heads        [testPartitions]gridloom.Head
	rejects      []gridloom.Reject
	tailCalls    int
	onTail       func(ctx context.Context, partition int) error // before a tail is answered
	onHead       func(partition int, h *gridloom.Head) error    // after a head is loaded
	state        string                                         // of all partitions; running
	records      [testPartitions]map[pane.Kind][]pane.Record    // of tails
	sequence     uint64                                         // of the last frame that was appended
	onAppend     func(partition int) error                      // before a frame is appended
	beforeAppend func()
}

func newWorld(t testing.TB) *world {
	t.Helper()
	dir, err := blob.OpenDir("/store", faultfs.New())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, dir: dir, store: pane.NewStore(dir, pane.StoreOptions{}), logged: t0 + 10*gridloom.Day, state: "running"}
	w.cfg = Config{Partitions: testPartitions, Window: window.Defaults(), Now: func() gridloom.Millis { return t0 + 10*gridloom.Day }, Version: "v-test"}
	for p := range w.heads {
		w.heads[p] = gridloom.Head{Format: 1, Generation: 1, Partition: p, Epoch: 7, Owner: "o", NextSeq: 100, LogTime: w.logged}
	}
	return w
}

func (w *world) where(p int) pane.Where { return pane.Where{Generation: 1, Partition: p, Epoch: 7} }

// commit stores rows as one segment of each partition that they belong to.
func (w *world) commit(panes []gridloom.Pane, readings []gridloom.Reading) {
	w.t.Helper()
	for p := range w.manifests {
		mine := slices.DeleteFunc(slices.Clone(panes), func(r gridloom.Pane) bool { return gridloom.PartitionOf(r.Meter, testPartitions) != p })
		raw := slices.DeleteFunc(slices.Clone(readings), func(r gridloom.Reading) bool { return gridloom.PartitionOf(r.Meter, testPartitions) != p })
		if len(mine) > 0 {
			seg, err := w.store.WritePanes(context.Background(), w.where(p), mine)
			if err != nil {
				w.t.Fatal(err)
			}
			w.manifests[p].Recent = append(w.manifests[p].Recent, seg)
		}
		if len(raw) > 0 {
			seg, err := w.store.WriteRaw(context.Background(), w.where(p), raw)
			if err != nil {
				w.t.Fatal(err)
			}
			w.manifests[p].Recent = append(w.manifests[p].Recent, seg)
		}
		w.swap(p)
	}
}

// forget empties the store's cache of verified files.
func (w *world) forget() { w.store = pane.NewStore(w.dir, pane.StoreOptions{}) }

// swap writes the manifest of a partition and lets its head name it.
func (w *world) swap(p int) {
	w.t.Helper()
	w.manifests[p].Head = w.heads[p]
	w.manifests[p].Head.Manifest = gridloom.FileRef{}
	w.manifests[p].Width = w.cfg.Window.Width
	ref, err := w.store.WriteManifest(context.Background(), &w.manifests[p])
	if err != nil {
		w.t.Fatal(err)
	}
	w.heads[p].Manifest = ref
}

// hold puts rows into the owners' tails.
func (w *world) hold(panes []gridloom.Pane, readings []gridloom.Reading) {
	for _, r := range panes {
		t := &w.tails[gridloom.PartitionOf(r.Meter, testPartitions)]
		t.Panes = append(t.Panes, r)
	}
	for _, r := range readings {
		t := &w.tails[gridloom.PartitionOf(r.Meter, testPartitions)]
		t.Readings = append(t.Readings, r)
	}
}

func (w *world) Tail(ctx context.Context, p int, sel pane.Selector) (*pane.Tail, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tailCalls++
	if w.onTail != nil {
		if err := w.onTail(ctx, p); err != nil {
			return nil, err
		}
	}
	chosen := func(meter string, id gridloom.RegisterID, start, length gridloom.Millis) bool {
		return (sel.Meters == nil || slices.Contains(sel.Meters, meter)) && (sel.Registers == nil || slices.Contains(sel.Registers, id)) &&
			(sel.To == 0 || start < sel.To) && start+max(length, 1) > sel.From
	}
	t := w.tails[p]
	if sel.Only.HoldsRecords() {
		t.Panes, t.Readings = nil, nil
		t.Records = sel.ChooseRecords(nil, w.records[p][sel.Only])
	}
	t.Panes = slices.DeleteFunc(slices.Clone(t.Panes), func(r gridloom.Pane) bool { return !chosen(r.Meter, r.Register, r.Start, r.Length) })
	t.Readings = slices.DeleteFunc(slices.Clone(t.Readings), func(r gridloom.Reading) bool { return !chosen(r.Meter, r.Register, r.Start, r.Length) })
	t.Head, t.LogTime, t.Watermark = w.heads[p], w.logged, w.logged-w.cfg.Window.Lateness
	return &t, nil
}

func (w *world) Series(ctx context.Context, p int) ([]pane.SeriesInfo, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.onTail != nil {
		if err := w.onTail(ctx, p); err != nil {
			return nil, err
		}
	}
	last := map[gridloom.Series]pane.SeriesInfo{}
	for _, r := range w.tails[p].Readings {
		s := gridloom.Series{Meter: r.Meter, Register: r.Register}
		if i, ok := last[s]; !ok || r.Start > i.LastAt {
			last[s] = pane.SeriesInfo{
				Meter: r.Meter, Register: r.Register, Serial: r.Serial, LastAt: r.Start, LastLength: r.Length,
				LastValue: r.Value, LastVoid: r.Void, LastQuality: r.Quality,
			}
		}
	}
	return slices.Collect(maps.Values(last)), nil
}

func (w *world) Status(context.Context) ([]pane.Status, error) {
	var all []pane.Status
	for p := range testPartitions {
		all = append(all, pane.Status{
			Generation: 1, Partition: p, State: w.state, Epoch: w.heads[p].Epoch, Owner: "o", NextSeq: 101, CommittedSeq: 100, Lag: 1,
			Watermark: w.logged - 10*gridloom.Minute, LogTime: w.logged, LastCommit: w.logged, Series: 2, OpenPanes: 3, TailBytes: 400,
		})
	}
	return all, nil
}

func (w *world) LoadHead(_ context.Context, p int) (gridloom.Head, uint64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	h := w.heads[p]
	if w.onHead != nil {
		if err := w.onHead(p, &h); err != nil {
			return h, 0, err
		}
	}
	return h, 1, nil
}

func (w *world) Rejects(_ context.Context, before uint64, limit int) ([]gridloom.Reject, error) {
	var out []gridloom.Reject
	for _, r := range slices.Backward(w.rejects) {
		if (before == 0 || r.Sequence < before) && len(out) < limit {
			out = append(out, r)
		}
	}
	return out, nil
}

// serve starts a server and returns its address.
func (w *world) serve() string {
	w.t.Helper()
	s, err := New(w.cfg, w.store, w, w, w)
	if err != nil {
		w.t.Fatal(err)
	}
	srv := httptest.NewServer(s.Routes())
	w.t.Cleanup(srv.Close)
	return srv.URL
}

// answerOf is a response read to its end.
type answerOf struct {
	code   int
	header http.Header
	body   string
}

func get(t testing.TB, address string) answerOf {
	t.Helper()
	a, err := tryGet(t, address)
	if err != nil {
		t.Fatalf("GET %s: %v", address, err)
	}
	return a
}

func tryGet(t testing.TB, address string) (answerOf, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, address, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return answerOf{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answerOf{resp.StatusCode, resp.Header, string(b)}, err
}

// row is one row as any of the formats tells it: names and text, "null" for null, lists joined by |.
type row map[string]string

// rowsOf asks for NDJSON and returns its rows.
func rowsOf(t testing.TB, address string) []row {
	t.Helper()
	sep := "?"
	if strings.Contains(address, "?") {
		sep = "&"
	}
	a := get(t, address+sep+"format=ndjson")
	if a.code != http.StatusOK {
		t.Fatalf("GET %s = %d %s", address, a.code, a.body)
	}
	return ndjsonRows(t, a.body)
}

func ndjsonRows(t testing.TB, body string) []row {
	t.Helper()
	var rows []row
	lines := bufio.NewScanner(strings.NewReader(body))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		rows = append(rows, jsonRow(t, lines.Bytes()))
	}
	return rows
}

func jsonRow(t testing.TB, b []byte) row {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(string(b)))
	dec.UseNumber()
	var m map[string]any
	if err := dec.Decode(&m); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	r := row{}
	for k, v := range m {
		switch v := v.(type) {
		case nil:
			r[k] = "null"
		case []any:
			var parts []string
			for _, p := range v {
				parts = append(parts, fmt.Sprint(p))
			}
			r[k] = strings.Join(parts, "|")
		default:
			r[k] = fmt.Sprint(v)
		}
	}
	return r
}

func jsonRows(t testing.TB, body, noun string) []row {
	t.Helper()
	var doc map[string]json.RawMessage
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	var items []json.RawMessage
	if err := json.Unmarshal(doc[noun], &items); err != nil {
		t.Fatalf("%v in %s", err, doc[noun])
	}
	var rows []row
	for _, i := range items {
		rows = append(rows, jsonRow(t, i))
	}
	return rows
}

// csvRows reads CSV; an empty field is null unless the column holds lists.
func csvRows(t testing.TB, body string) []row {
	t.Helper()
	all, err := csv.NewReader(strings.NewReader(body)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var rows []row
	for _, line := range all[1:] {
		r := row{}
		for i, v := range line {
			if v == "" && all[0][i] != "quality" && all[0][i] != "last_quality" && all[0][i] != "labels" {
				v = "null"
			}
			r[all[0][i]] = v
		}
		rows = append(rows, r)
	}
	return rows
}

func arrowRows(t testing.TB, body string) []row {
	t.Helper()
	in, err := ipc.NewReader(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Release()
	var rows []row
	for in.Next() {
		rec := in.Record()
		for i := range int(rec.NumRows()) {
			r := row{}
			for c, f := range rec.Schema().Fields() {
				r[f.Name] = arrowText(rec.Column(c), i)
			}
			rows = append(rows, r)
		}
	}
	if err := in.Err(); err != nil {
		t.Fatal(err)
	}
	return rows
}

func arrowText(col arrow.Array, i int) string {
	if col.IsNull(i) {
		return "null"
	}
	switch c := col.(type) {
	case *array.Timestamp:
		return gridloom.Millis(c.Value(i)).String()
	case *array.Duration:
		return spanString(gridloom.Millis(c.Value(i)))
	case *array.Decimal128:
		scale := c.DataType().(*arrow.Decimal128Type).Scale
		return string(appendDecimal(nil, int64(c.Value(i).LowBits()), int(scale)))
	case *array.List:
		lo, hi := c.ValueOffsets(i)
		var parts []string
		for j := lo; j < hi; j++ {
			parts = append(parts, c.ListValues().(*array.String).Value(int(j)))
		}
		return strings.Join(parts, "|")
	}
	return col.ValueStr(i)
}

// neighbourhood is the raw rows of a few meters with a counter, a gauge, an interval
// and an event register, with gaps, corrections, voids and repetitions, over the first day.
func neighbourhood(rng *rand.Rand, meters int) []gridloom.Reading {
	var rows []gridloom.Reading
	for m := range meters {
		meter := fmt.Sprintf("m%02d", m)
		for _, name := range []string{"energy_import", "power_import", "energy_import_interval", "power_failures"} {
			id, _ := gridloom.RegisterByName(name)
			value, at := rng.Int64N(1e9), t0
			for at < t0+gridloom.Day {
				r := gridloom.Reading{Meter: meter, Register: id, Start: at, Serial: "s1", Agent: "a1", LoggedAt: at + gridloom.Minute}
				value += rng.Int64N(1e6)
				r.Value = value
				switch id.Info().Kind {
				case gridloom.Interval:
					r.Length, r.Value = 15*gridloom.Minute, rng.Int64N(1e6)
				case gridloom.Gauge:
					r.Value = rng.Int64N(4e6) - 1e6
				case gridloom.Event, gridloom.Counter:
				}
				rows = append(rows, r)
				for rng.IntN(8) == 0 { // said again, corrected or withdrawn, later
					again := r
					again.LoggedAt += gridloom.Millis(rng.Int64N(int64(2 * gridloom.Hour)))
					switch rng.IntN(3) {
					case 0:
						again.Value++
					case 1:
						again.Void, again.Value = true, 0
					}
					rows = append(rows, again)
				}
				at += []gridloom.Millis{5, 15, 15, 15, 60, 200}[rng.IntN(6)] * gridloom.Minute
			}
		}
	}
	// Log times never fall from one sequence to the next.
	slices.SortStableFunc(rows, func(a, b gridloom.Reading) int { return int(a.LoggedAt - b.LoggedAt) })
	for i := range rows {
		rows[i].Sequence, rows[i].Place = uint64(1+i/5), uint32(i%5)
	}
	for i := range rows {
		rows[i].LoggedAt = rows[i-i%5].LoggedAt
	}
	return rows
}

// foldAll makes the panes of rows, with the greatest sequence of a series' rows as revision.
func foldAll(cfg window.Config, rows []gridloom.Reading, watermark gridloom.Millis) []gridloom.Pane {
	series := map[gridloom.Series][]window.Reading{}
	for _, r := range rows {
		s := gridloom.Series{Meter: r.Meter, Register: r.Register}
		series[s] = append(series[s], window.Reading{
			Start: r.Start, Length: r.Length, Value: r.Value, Void: r.Void, Quality: r.Quality, Order: r.Order,
			Sequence: r.Sequence, Place: r.Place, LoggedAt: r.LoggedAt, Serial: r.Serial,
		})
	}
	var panes []gridloom.Pane
	for s, rs := range series {
		cfg.Fold(s.Register.Info().Kind, rs, watermark, func(p *gridloom.Pane) {
			q := *p
			q.Meter, q.Register, q.Revision, q.ComputedAt = s.Meter, s.Register, 50, t0
			panes = append(panes, q)
		})
	}
	order := newCodeOrder()
	slices.SortFunc(panes, func(a, b gridloom.Pane) int {
		ka, kb := order.ofPane(&a), order.ofPane(&b)
		if ka.less(&kb) {
			return -1
		}
		return 1
	})
	return panes
}
