package floor

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/pane"
)

var connect = append([]byte{0x10, 14}, "\x00\x04MQTT\x04\x02\x00\x00\x00\x02gw"...)

func publish(qos byte, id uint16, payload string) []byte {
	const topic = "gridloom/v1/home/gw/readings"
	body := binary.BigEndian.AppendUint16(nil, uint16(len(topic)))
	body = append(body, topic...)
	if qos > 0 {
		body = binary.BigEndian.AppendUint16(body, id)
	}
	body = append(body, payload...)
	return append(binary.AppendUvarint([]byte{0x30 | qos<<1}, uint64(len(body))), body...)
}

// TestEveryMessageIsAcknowledgedHoweverItIsCut feeds the counter the same packets in
// pieces of every size.
func TestEveryMessageIsAcknowledgedHoweverItIsCut(t *testing.T) {
	for _, piece := range []int{1, 2, 3, 7, 64, 1000, 65536, 1 << 20} {
		in, want := bytes.Clone(connect), []byte{0x20, 2, 0, 0}
		for id := range uint16(20) {
			in = append(in, publish(1, id+1, string(make([]byte, int(id)*20)))...)
			in = append(in, publish(0, 0, "nobody waits for an answer")...)
			want = binary.BigEndian.AppendUint16(append(want, 0x40, 2), id+1)
		}
		in, want = append(in, 0xc0, 0), append(want, 0xd0, 0)
		if piece >= 1000 { // longer than the counter's buffer
			in = append(in, publish(1, 99, string(make([]byte, 100<<10)))...)
			want = append(want, 0x40, 2, 0, 99)
		}
		device, broker := net.Pipe()
		done := make(chan struct{})
		go func() { defer close(done); count(broker) }()
		go func() {
			for rest := in; len(rest) > 0; rest = rest[min(piece, len(rest)):] {
				if _, err := device.Write(rest[:min(piece, len(rest))]); err != nil {
					return
				}
			}
		}()
		got := make([]byte, len(want))
		if _, err := io.ReadFull(device, got); err != nil || !bytes.Equal(got, want) {
			t.Errorf("in pieces of %d the answers are % x (%v), want % x", piece, got, err, want)
		}
		device.Close()
		<-done
	}
}

func TestBrokenPacketsEndTheConnection(t *testing.T) {
	f := func(packet ...byte) {
		t.Helper()
		device, broker := net.Pipe()
		defer device.Close()
		done := make(chan struct{})
		go func() { defer close(done); count(broker) }()
		if _, err := device.Write(packet); err != nil {
			t.Fatal(err)
		}
		<-done
	}
	f(0x32, 0xff, 0xff, 0xff, 0xff)              // a length without end
	f(0x32, 1, 0)                                // too short for a topic
	f(0x32, 4, 0, 9, 'a', 'b')                   // shorter than its topic
	f(0x34, 5, 0, 1, 'a', 0, 1)                  // QoS 2
	f(0xe0, 0)                                   // DISCONNECT
	f(append([]byte{0x32}, 0xff, 0xff, 0x7f)...) // more than a packet may have
}

// TestBrokersAcknowledgeEveryMessage publishes to each of the brokers.
func TestBrokersAcknowledgeEveryMessage(t *testing.T) {
	const messages = 50
	for _, name := range Brokers() {
		ctx, stop := context.WithCancel(t.Context())
		dir := t.TempDir()
		addr := make(chan string, 1)
		ended := make(chan error, 1)
		go func() { ended <- Serve(ctx, name, dir, func(a string) error { addr <- a; return nil }) }()
		var at string
		select {
		case at = <-addr:
		case err := <-ended:
			t.Fatalf("%s: %v", name, err)
		}
		c, err := new(net.Dialer).DialContext(ctx, "tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		out := bytes.Clone(connect)
		want := []byte{0x20, 2, 0, 0}
		for id := range uint16(messages) {
			out = append(out, publish(1, id+1, `{"meter":"m1","at":1795383300000,"power_import":432.1}`)...)
			want = binary.BigEndian.AppendUint16(append(want, 0x40, 2), id+1)
		}
		if _, err := c.Write(out); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(want))
		if _, err := io.ReadFull(c, got); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s answers % x, want % x", name, got, want)
		}
		c.Close()
		stop()
		if err := <-ended; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := Serve(t.Context(), "none", "", nil); err == nil {
		t.Error("Serve runs a broker that does not exist")
	}
}

func TestFramesAreOnDiskWhenTheyAreCounted(t *testing.T) {
	const size = 8 << 10
	f := func(name string, do func(context.Context, string, int, time.Duration) (Work, error), file string) {
		t.Helper()
		dir := t.TempDir()
		w, err := do(t.Context(), dir, size, 30*time.Millisecond)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if w.N == 0 || w.Bytes != w.N*size || w.Wall < 30*time.Millisecond {
			t.Errorf("%s: %+v", name, w)
		}
		var onDisk int64
		err = filepath.WalkDir(filepath.Join(dir, file), func(path string, _ os.DirEntry, err error) error {
			if info, serr := os.Stat(path); err == nil && serr == nil && !info.IsDir() {
				onDisk += info.Size()
			}
			return err
		})
		if err != nil || onDisk < w.Bytes {
			t.Errorf("%s: %d bytes are on disk (%v), %d were counted", name, onDisk, err, w.Bytes)
		}
	}
	f("WriteFiles", WriteFiles, "frames")
	f("PublishFrames", PublishFrames, "bare")
	f("AppendFrames", AppendFrames, "log")
}

func TestKernelAndArraysCountTheSameReadings(t *testing.T) {
	for _, fleet := range []Fleet{{Series: 500}, {Series: 500, Mixed: true}} {
		f := func(name string, do func() (Work, error)) {
			t.Helper()
			w, err := do()
			if err != nil || w.N == 0 || w.N%500 != 0 || w.Wall < 10*time.Millisecond {
				t.Errorf("%s of %+v: %+v, %v", name, fleet, w, err)
			}
		}
		f("FoldArray", func() (Work, error) { return FoldArray(fleet, 10*time.Millisecond) })
		f("FoldRows", func() (Work, error) { return FoldRows(fleet, 10*time.Millisecond) })
		for _, k := range []gridloom.Kind{gridloom.Counter, gridloom.Gauge, gridloom.Interval} {
			f("FoldKernel", func() (Work, error) { return FoldKernel(k, fleet, 10*time.Millisecond) })
		}
	}
	mixed := Fleet{Series: 500, Mixed: true}.order()
	seen := make([]bool, 500)
	moved := 0
	for i, s := range mixed {
		seen[s] = true
		if int(s) != i {
			moved++
		}
	}
	for s, ok := range seen {
		if !ok {
			t.Errorf("series %d never speaks", s)
		}
	}
	if moved < 400 {
		t.Errorf("only %d of 500 series are out of order in a mixed fleet", moved)
	}
}

// readable gives back what was stored.
type readable struct{ lastFile }

func (r *readable) Get(context.Context, string) ([]byte, error) { return r.data, nil }

// TestBothWritersGetTheSameRows: what arrow writes is what our segment holds, in its order.
func TestBothWritersGetTheSameRows(t *testing.T) {
	c := Commit{Meters: 210, Objects: 3}
	cols, err := c.columns()
	if err != nil {
		t.Fatal(err)
	}
	file := &readable{}
	store := pane.NewStore(file, pane.StoreOptions{CacheBytes: -1})
	seg, err := store.WriteRawColumns(t.Context(), pane.Where{Generation: 1, Epoch: 1}, cols, &pane.Ranking{})
	if err != nil {
		t.Fatal(err)
	}
	rec := record(cols, c)
	defer rec.Release()
	row := 0
	text := func(i int) string { return rec.Column(i).(*array.String).Value(row) }
	err = store.ReadRaw(t.Context(), seg, pane.Selector{}, func(r *gridloom.Reading) error {
		got := []any{text(0), text(1), int64(rec.Column(2).(*array.Timestamp).Value(row)), rec.Column(4).(*array.Int64).Value(row), text(11)}
		want := []any{r.Register.Info().Code, r.Meter, int64(r.Start), r.Value, r.Agent}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("row %d: (-segment +arrow)\n%s", row, diff)
		}
		row++
		return nil
	})
	if err != nil || row != c.Rows() || rec.NumRows() != int64(row) {
		t.Errorf("the segment has %d rows, arrow %d, want %d (%v)", row, rec.NumRows(), c.Rows(), err)
	}
	for name, do := range map[string]func() (Work, error){
		"WriteSegment": func() (Work, error) { return WriteSegment(t.Context(), c, time.Millisecond) },
		"WriteParquet": func() (Work, error) { return WriteParquet(c, time.Millisecond) },
	} {
		w, err := do()
		if err != nil || w.N == 0 || w.N%int64(c.Rows()) != 0 || w.Bytes < w.N {
			t.Errorf("%s: %+v, %v", name, w, err)
		}
	}
}
