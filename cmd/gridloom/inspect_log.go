package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/wire"
	"github.com/gridloom/gridloom/stream"
)

// inspectStream prints heads or frames of the log.
func inspectStream(ctx context.Context, kind string, c *inspectConfig, s *stream.Stream, w io.Writer) error {
	layout := s.Layout()
	parts := make([]int, 0, layout.Partitions)
	for p := range layout.Partitions {
		if c.partition < 0 || c.partition == p {
			parts = append(parts, p)
		}
	}
	if len(parts) == 0 {
		return fmt.Errorf("%w: there is no partition %d: the log has 0 to %d", gridloom.ErrNotFound, c.partition, layout.Partitions-1)
	}
	switch kind {
	case "head":
		for _, p := range parts {
			if err := printHead(ctx, c, s, p, w); err != nil {
				return err
			}
		}
		return nil
	case "log", "frame":
		return printLog(ctx, kind, c, s, parts, w)
	}
	return fmt.Errorf("%w: inspect %q", gridloom.ErrNotFound, kind)
}

func printHead(ctx context.Context, c *inspectConfig, s *stream.Stream, p int, w io.Writer) error {
	h, rev, err := s.LoadHead(ctx, p)
	if errors.Is(err, gridloom.ErrNotFound) {
		if !c.json {
			fmt.Fprintf(w, "partition %d: no head\n", p)
		}
		return nil
	}
	if err != nil {
		return err
	}
	if c.json {
		return json.NewEncoder(w).Encode(struct {
			gridloom.Head
			Revision uint64 `json:"revision"`
		}{h, rev})
	}
	fmt.Fprintf(w, "partition %d  generation %d  revision %d\n", h.Partition, h.Generation, rev)
	fmt.Fprintf(w, "  epoch     %d  owner %s  node %s  commit %s\n", h.Epoch, h.Owner, h.Node, h.CommitID)
	fmt.Fprintf(w, "  position  next sequence %d, last frame %d (crc %08x), log time %s\n", h.NextSeq, h.LastRef.Seq, h.LastRef.CRC, h.LogTime)
	fmt.Fprintf(w, "  log       created %s\n", h.StreamCreated.Format(time.RFC3339Nano))
	fmt.Fprintf(w, "  manifest  %s (crc %08x)\n", orNone(h.Manifest.Path), h.Manifest.CRC)
	return nil
}

func orNone(s string) string {
	if s == "" {
		return "none yet"
	}
	return s
}

// frameAt is a frame and where it was found.
type frameAt struct {
	Sequence uint64
	LoggedAt gridloom.Millis
	Data     []byte
}

// printLog prints the frames of some partitions in the order of the log.
func printLog(ctx context.Context, kind string, c *inspectConfig, s *stream.Stream, parts []int, w io.Writer) error {
	var all []frameAt
	for _, p := range parts {
		last, err := s.LastSequence(ctx, p)
		if err != nil {
			return err
		}
		if last == 0 || last < c.from {
			continue
		}
		frames, err := readFrames(ctx, s, p, max(c.from, 1), last, c.count)
		if err != nil {
			return err
		}
		all = append(all, frames...)
	}
	slices.SortFunc(all, func(a, b frameAt) int { return int(int64(a.Sequence) - int64(b.Sequence)) })
	if len(all) > c.count {
		all = all[:c.count]
	}
	if kind == "frame" && (len(all) == 0 || all[0].Sequence != c.from) {
		return fmt.Errorf("%w: the log holds no frame %d: it was purged, is not written yet, or is of another stream", gridloom.ErrNotFound, c.from)
	}
	for _, f := range all {
		if err := printFrame(w, c, f, kind == "frame"); err != nil {
			return err
		}
	}
	return nil
}

func readFrames(ctx context.Context, s *stream.Stream, p int, from, last uint64, count int) ([]frameAt, error) {
	r, err := s.Follow(ctx, p, gridloom.Head{Format: gridloom.HeadFormat, Generation: s.Layout().Generation, Partition: p, NextSeq: from, StreamCreated: s.Layout().Created})
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var out []frameAt
	for {
		msgs, err := r.Next(ctx)
		if err != nil {
			return nil, err
		}
		for _, m := range msgs {
			out = append(out, frameAt{m.Sequence, m.LoggedAt, m.Data})
			if m.Sequence >= last || len(out) >= count {
				return out, nil
			}
		}
	}
}

// printFrame prints what a frame is and, if asked for, its readings.
func printFrame(w io.Writer, c *inspectConfig, f frameAt, rows bool) error {
	var cols wire.Columns
	info, err := wire.DecodeFrame(f.Data, &cols)
	if err != nil {
		return fmt.Errorf("frame %d: %w", f.Sequence, err)
	}
	if c.json {
		o := map[string]any{
			"sequence": f.Sequence, "logged_at": f.LoggedAt.String(), "kind": info.Kind.String(), "generation": info.Generation, "partition": info.Partition,
			"readings": info.Readings, "bytes": len(f.Data), "crc": wire.CRC(f.Data),
		}
		if rows {
			var list []map[string]any
			for i := range cols.Len() {
				r := cols.Reading(i)
				list = append(list, map[string]any{
					"meter": r.Meter, "register": r.Register.Info().Code, "start": r.Start.String(), "length_ms": r.Length,
					"value_milli": r.Value, "void": r.Void, "quality": r.Quality.Names(), "order": r.Order.String(), "serial": r.Serial, "agent": r.Agent,
				})
			}
			o["rows"] = list
		}
		return json.NewEncoder(w).Encode(o)
	}
	fmt.Fprintf(w, "frame %d  %s  %s  generation %d  partition %d  %d readings of %d meters  %d bytes  crc %08x\n",
		f.Sequence, f.LoggedAt, info.Kind, info.Generation, info.Partition, info.Readings, len(cols.Meters), len(f.Data), wire.CRC(f.Data))
	if rows {
		for i := range cols.Len() {
			r := cols.Reading(i)
			value := strconv.FormatInt(r.Value, 10)
			if r.Void {
				value = "void"
			}
			fmt.Fprintf(w, "  %s  %s  %s +%s  %s m%s  %s  order %s  agent %s\n", r.Meter, r.Register, r.Start, r.Length.Duration(), value, r.Register.Info().Unit, r.Quality, r.Order, orNone(r.Agent))
		}
	}
	return nil
}
