package stream_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/stream"
	"github.com/gridloom/gridloom/stream/streamtest"
)

func TestRejectsComeBackNewestFirstInPages(t *testing.T) {
	srv := streamtest.Start(t)
	ctx := testContext(t)
	var all []gridloom.Reject // in order of arrival
	for i := range 30 {
		var rs []gridloom.Reject
		for j := range 1 + i%4 {
			rs = append(rs, gridloom.Reject{At: gridloom.Millis(i), Reason: "VALUE", Detail: fmt.Sprint(i, j), Place: "readings[3]", Topic: "t", Client: "c", Payload: []byte{0, 255, byte(i)}})
		}
		if err := srv.Stream.AppendRejects(ctx, rs); err != nil {
			t.Fatal(err)
		}
		all = append(all, rs...)
	}
	srv.Restart()
	var got []gridloom.Reject
	for before := uint64(0); ; {
		page, err := srv.Stream.Rejects(ctx, before, 7)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		got = append(got, page...)
		before = page[len(page)-1].Sequence
	}
	if len(got) != len(all) {
		t.Fatalf("%d rejects came back, want %d", len(got), len(all))
	}
	for i := range got {
		want := all[len(all)-1-i]
		want.Sequence = got[i].Sequence
		if d := cmp.Diff(want, got[i]); d != "" {
			t.Fatalf("reject %d from the newest (-want +got):\n%s", i, d)
		}
		if i > 0 && got[i].Sequence >= got[i-1].Sequence {
			t.Fatalf("sequence %d after %d", got[i].Sequence, got[i-1].Sequence)
		}
	}
}

func TestManyLargeRejectsAreCutAndSpreadOverMessages(t *testing.T) {
	srv := streamtest.Start(t)
	ctx := testContext(t)
	rs := make([]gridloom.Reject, 50)
	for i := range rs {
		rs[i] = gridloom.Reject{Reason: "SIZE", Detail: fmt.Sprint(i), Payload: bytes.Repeat([]byte{byte(i)}, 100<<10)}
	}
	if err := srv.Stream.AppendRejects(ctx, rs); err != nil {
		t.Fatal(err)
	}
	got, err := srv.Stream.Rejects(ctx, 0, 100)
	if err != nil || len(got) != len(rs) {
		t.Fatalf("%d rejects, %v; want %d", len(got), err, len(rs))
	}
	for i, r := range got {
		if r.Detail != fmt.Sprint(49-i) || !r.Cut || len(r.Payload) != gridloom.MaxRejectPayload || r.Payload[0] != byte(49-i) {
			t.Errorf("reject %d: detail %s, cut %v, %d bytes", i, r.Detail, r.Cut, len(r.Payload))
		}
	}
	if !bytes.Equal(rs[0].Payload, make([]byte, 100<<10)) || rs[0].Cut {
		t.Error("AppendRejects changed its argument")
	}
}

func TestOldestRejectsFallOutAndAreCounted(t *testing.T) {
	srv := streamtest.Start(t, func(c *stream.Config) { c.RejectBytes = 1 << 20 })
	ctx := testContext(t)
	for i := range 40 {
		if err := srv.Stream.AppendRejects(ctx, []gridloom.Reject{{Detail: fmt.Sprint(i), Payload: make([]byte, 60<<10)}}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := srv.Stream.Rejects(ctx, 0, 100)
	if err != nil || len(got) == 0 || got[0].Detail != "39" {
		t.Fatalf("%d rejects, %v; want the newest", len(got), err)
	}
	u, err := srv.Stream.Usage(ctx)
	if err != nil || u.RejectsDropped != uint64(40-len(got)) || u.RejectsDropped == 0 {
		t.Errorf("RejectsDropped = %d, %v; want %d", u.RejectsDropped, err, 40-len(got))
	}
}
