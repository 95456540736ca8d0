package stream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/natsd"
)

// unluckyJS answers calls with the errors in refuse, in turn, before it lets any through.
type unluckyJS struct {
	jetstream.JetStream
	refuse []jetstream.ErrorCode
	calls  int
}

func (u *unluckyJS) next() error {
	u.calls++
	if len(u.refuse) == 0 {
		return nil
	}
	code := u.refuse[0]
	u.refuse = u.refuse[1:]
	return &jetstream.APIError{Code: 500, ErrorCode: code, Description: fmt.Sprintf("simulated %d", code)}
}

func (u *unluckyJS) CreateStream(ctx context.Context, cfg jetstream.StreamConfig) (jetstream.Stream, error) {
	if err := u.next(); err != nil {
		return nil, err
	}
	return u.JetStream.CreateStream(ctx, cfg)
}

func (u *unluckyJS) PublishMsg(ctx context.Context, m *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	if err := u.next(); err != nil {
		return nil, err
	}
	return u.JetStream.PublishMsg(ctx, m, opts...)
}

func embedded(t *testing.T) *Stream {
	t.Helper()
	srv, err := natsd.Open(natsd.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	s, err := Connect(t.Context(), Config{InProcess: srv, MaxBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestCreateStreamIsRepeatedWhenItFailsForNoReason(t *testing.T) {
	s := embedded(t)
	cfg := jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"other"}}
	u := &unluckyJS{JetStream: s.js, refuse: []jetstream.ErrorCode{codeStreamCreate, codeStreamCreate}}
	s.js = u
	if _, err := s.ensure(t.Context(), cfg); err != nil || u.calls != 3 {
		t.Errorf("ensure = %v after %d calls, want success after 3", err, u.calls)
	}
	// Another that creates the same stream holds its room for a moment.
	u.refuse, u.calls, cfg.Name, cfg.Subjects = []jetstream.ErrorCode{codeReservations}, 0, "THIRD", []string{"third"}
	if _, err := s.ensure(t.Context(), cfg); err != nil || u.calls != 2 {
		t.Errorf("ensure = %v after %d calls, want success after 2", err, u.calls)
	}
	u.refuse, u.calls, cfg.Name = slices.Repeat([]jetstream.ErrorCode{codeReservations}, roomTries), 0, "FOURTH"
	if _, err := s.ensure(t.Context(), cfg); !errors.Is(err, gridloom.ErrUnavailable) || !strings.Contains(err.Error(), "max_file_store") || u.calls != roomTries {
		t.Errorf("ensure without storage = %v after %d calls, want ErrUnavailable after %d", err, u.calls, roomTries)
	}
}

// TestSwapReadsBackAfterEitherConflictCode lets a conflict come although nothing was
// stored, as a replicated stream may answer while another proposal is in flight.
func TestSwapReadsBackAfterEitherConflictCode(t *testing.T) {
	s := embedded(t)
	h := gridloom.Head{Generation: 1, CommitID: "c0", NextSeq: 1, StreamCreated: s.layout.Created}
	rev, err := s.CreateHead(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	for i, code := range []jetstream.ErrorCode{jetstream.JSErrCodeStreamWrongLastSequence, jetstream.JSErrCodeStreamWrongLastSequenceConstant, 10008} {
		u := &unluckyJS{JetStream: s.js, refuse: []jetstream.ErrorCode{code}}
		s.js = u
		h.CommitID = fmt.Sprintf("c%d", i+1)
		r, err := s.SwapHead(t.Context(), h, rev)
		if err != nil || r != rev+1 || u.calls != 2 {
			t.Errorf("code %d: SwapHead = %d, %v after %d puts; want %d after 2", code, r, err, u.calls, rev+1)
		}
		rev = r
		s.js = u.JetStream
	}
}

func TestConflictsAreToldFromOtherErrors(t *testing.T) {
	f := func(err error, want bool) {
		t.Helper()
		if got := isConflict(fmt.Errorf("put: %w", err)); got != want {
			t.Errorf("isConflict(%v) = %v, want %v", err, got, want)
		}
	}
	f(&jetstream.APIError{ErrorCode: 10071}, true)
	f(&jetstream.APIError{ErrorCode: 10164}, true)
	f(jetstream.ErrKeyExists, true)
	f(&jetstream.APIError{ErrorCode: 10077}, false)
	f(nats.ErrTimeout, false)
	f(context.Canceled, false)
}

func TestErrorsHaveAtMostOneKind(t *testing.T) {
	kinds := []error{gridloom.ErrInvalid, gridloom.ErrNotFound, gridloom.ErrUnavailable, gridloom.ErrFenced, gridloom.ErrCorrupt}
	f := func(err, want error) {
		t.Helper()
		got := kindOf("do it", err)
		for _, k := range kinds {
			if errors.Is(got, k) != errors.Is(k, want) {
				t.Errorf("kindOf(%v) is %v, want only %v", err, k, want)
			}
		}
	}
	f(nats.ErrTimeout, gridloom.ErrUnavailable)
	f(nats.ErrMaxPayload, gridloom.ErrInvalid)
	f(jetstream.ErrMsgNotFound, gridloom.ErrNotFound)
	f(errors.New("something new"), gridloom.ErrUnavailable)
	f(fmt.Errorf("%w: before", gridloom.ErrCorrupt), gridloom.ErrCorrupt)
}

func TestRoomClosesAndOpensWithHysteresis(t *testing.T) {
	f := func(was int32, free int64, want int32) {
		t.Helper()
		if got := nextState(was, free, 1000); got != want {
			t.Errorf("nextState(%d, free %d of 1000) = %d, want %d", was, free, got, want)
		}
	}
	f(roomOpen, 1000, roomOpen)
	f(roomOpen, 999, roomNoAppends)
	f(roomNoAppends, 1099, roomNoAppends)
	f(roomNoAppends, 1100, roomOpen)
	f(roomNoAppends, 249, roomNoCommits)
	f(roomNoCommits, 274, roomNoCommits)
	f(roomNoCommits, 275, roomNoAppends)
	f(roomNoCommits, 5000, roomOpen)
	f(roomOpen, 0, roomNoCommits)
}

// TestCurveKnowsWhereTheLastBytesBegin grows and purges a log of frames of random
// size, whose exact sum the test keeps, and asks for the margin of 100 frames.
func TestCurveKnowsWhereTheLastBytesBegin(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	var c curve
	before := []float64{0, 0} // bytes before sequence i
	first := uint64(1)
	for step := range 5000 {
		for range rng.IntN(20) {
			// Frames grow over time: a straight line over the whole log would be far off.
			before = append(before, before[len(before)-1]+float64(rng.IntN(100+step)))
		}
		next := uint64(len(before) - 1)
		if step%10 == 9 && next > 2000 {
			first = max(first, next-1000)
		}
		c.add(&jetstream.StreamState{FirstSeq: first, LastSeq: next - 1, Bytes: uint64(before[next] - before[first])})
		if next < first+200 {
			continue
		}
		want := next - 100
		got := c.last(int64(before[next] - before[want]))
		if got+30 < want || got > want+30 {
			t.Fatalf("step %d: the last %v bytes begin at %d, want %d", step, before[next]-before[want], got, want)
		}
		if len(c.points) > maxCurve+1 {
			t.Fatalf("%d points are kept, limit %d", len(c.points), maxCurve)
		}
	}
}

func FuzzDecodeRejects(f *testing.F) {
	f.Add([]byte("{\"reason\":\"SYNTAX\",\"payload\":\"AAE=\"}\n{\"reason\":\"TIME\"}\n"))
	f.Add([]byte("\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := decodeRejects(data); err != nil && !errors.Is(err, gridloom.ErrCorrupt) {
			t.Errorf("decodeRejects(%q) = %v, want ErrCorrupt", data, err)
		}
	})
}

func TestSizeIsForPeople(t *testing.T) {
	f := func(n int64, want string) {
		t.Helper()
		if got := size(n); got != want {
			t.Errorf("size(%d) = %q, want %q", n, got, want)
		}
	}
	f(0, "0 B")
	f(1023, "1023 B")
	f(1536, "1.5 KiB")
	f(64<<30, "64.0 GiB")
	f(1<<60, "1024.0 PiB")
}

// BenchmarkAppend measures one frame at a time to the embedded server: an fsync each.
func BenchmarkAppend(b *testing.B) {
	for _, n := range []int{1 << 10, 128 << 10} {
		b.Run(size(int64(n)), func(b *testing.B) {
			srv, err := natsd.Open(natsd.Config{Dir: b.TempDir()})
			if err != nil {
				b.Fatal(err)
			}
			s, err := Connect(b.Context(), Config{InProcess: srv, MaxBytes: 8 << 30})
			if err != nil {
				b.Fatal(err)
			}
			frame := make([]byte, n)
			var took []time.Duration
			b.SetBytes(int64(n))
			for b.Loop() {
				began := time.Now()
				if _, err := s.Append(b.Context(), 0, frame); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(began))
			}
			b.ReportMetric(percentile(took, 50), "p50-ms")
			b.ReportMetric(percentile(took, 99), "p99-ms")
			s.Close()
			if err := srv.Close(); err != nil {
				b.Error(err)
			}
		})
	}
}

// percentile sorts ds and returns their p-th percentile in milliseconds.
func percentile(ds []time.Duration, p int) float64 {
	slices.Sort(ds)
	return float64(ds[len(ds)*p/100].Microseconds()) / 1000
}
