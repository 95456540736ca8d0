package query

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/go-chi/chi/v5"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/pane"
)

// partialHeader marks an answer that lacks what silent owners hold.
const partialHeader = "X-Gridloom-Partial"

// series asks owners what series they know. With partial, partitions whose owner
// does not answer are left out and told.
func (s *Server) series(ctx context.Context, partitions []int, partial bool) (infos []pane.SeriesInfo, silent bool, err error) {
	for _, p := range partitions {
		octx, cancel := context.WithTimeout(ctx, s.cfg.OwnerWait)
		part, err := s.owners.Series(octx, p)
		cancel()
		switch {
		case err == nil:
			infos = append(infos, part...)
		case partial && ctx.Err() == nil:
			silent = true
			s.metrics.partial.Inc()
		default:
			return nil, false, s.ownerFailed(ctx, p, err)
		}
	}
	slices.SortFunc(infos, func(a, b pane.SeriesInfo) int {
		if c := strings.Compare(a.Meter, b.Meter); c != 0 {
			return c
		}
		return int(s.order[a.Register] - s.order[b.Register])
	})
	return infos, silent, nil
}

// ownerFailed says which partition did not answer; an owner that took too long is unavailable.
func (s *Server) ownerFailed(ctx context.Context, partition int, err error) error {
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return fmt.Errorf("partition %d: %w: its owner did not answer within %s; partial=true gives what is committed",
			partition, gridloom.ErrUnavailable, s.cfg.OwnerWait)
	}
	return fmt.Errorf("partition %d: %w", partition, err)
}

func (s *Server) allPartitions() []int {
	all := make([]int, s.cfg.Partitions)
	for p := range all {
		all[p] = p
	}
	return all
}

// listMeters answers GET /meters: a row for each meter.
func (s *Server) listMeters(w http.ResponseWriter, r *http.Request) error {
	p := newParams(r.URL.RawQuery, s.cfg.Now(), &s.limits)
	registers := p.registers()
	prefix, after := p.one("prefix"), p.one("after")
	limit := p.count("limit", s.limits.Rows, s.limits.Rows)
	partial := p.flag("partial")
	known := p.knownMeters()
	f, err := formatOf(r, p.one("format"))
	if err == nil {
		err = p.done()
	}
	if err != nil {
		return err
	}
	infos, silent, err := s.series(r.Context(), s.allPartitions(), partial)
	if err != nil {
		return err
	}
	if err := known.load(r.Context(), s, partial); err != nil {
		return err
	}
	t := &table{noun: "meters", head: []field{{"partial", kindBool, truth(silent)}}, columns: []column{
		{name: "meter"}, {name: "serial"}, {name: "registers", kind: kindList}, {name: "last_at", kind: kindInstant}, {name: "labels", kind: kindList},
	}}
	markPartial(w, silent)
	return s.answer(w, r, f, t, func(enc encoder) error {
		for i := 0; i < len(infos) && limit > 0; {
			one := infos[i:]
			n := 1
			for n < len(one) && one[n].Meter == one[0].Meter {
				n++
			}
			i += n
			if m := one[0].Meter; m <= after || !strings.HasPrefix(m, prefix) || !hasRegister(one[:n], registers) || !known.chooses(m) {
				continue
			}
			limit--
			if err := enc.row(append(meterRow(one[:n]), known.labels(one[0].Meter))); err != nil {
				return err
			}
		}
		return nil
	})
}

func hasRegister(infos []pane.SeriesInfo, ids []gridloom.RegisterID) bool {
	return len(ids) == 0 || slices.ContainsFunc(infos, func(i pane.SeriesInfo) bool { return slices.Contains(ids, i.Register) })
}

// meterRow tells of one meter's series: the serial of the device that reported last.
func meterRow(infos []pane.SeriesInfo) []cell {
	names := make([]string, len(infos))
	newest := &infos[0]
	for i := range infos {
		names[i] = infos[i].Register.Info().Alias
		if infos[i].LastAt > newest.LastAt || infos[i].LastAt == newest.LastAt && newest.Serial == "" {
			newest = &infos[i]
		}
	}
	return []cell{text(newest.Meter), textOrNull(newest.Serial), {list: &names}, when(newest.LastAt != 0, int64(newest.LastAt))}
}

func markPartial(w http.ResponseWriter, partial bool) {
	if partial {
		w.Header().Set(partialHeader, "true")
	}
}

// oneMeter answers GET /meters/{meter}: a row for each of its registers.
func (s *Server) oneMeter(w http.ResponseWriter, r *http.Request) error {
	p := newParams(r.URL.RawQuery, s.cfg.Now(), &s.limits)
	f, err := formatOf(r, p.one("format"))
	if err == nil {
		err = p.done()
	}
	if err != nil {
		return err
	}
	meter, err := pathParam(r, "meter")
	if err != nil {
		return err
	}
	partition := gridloom.PartitionOf(meter, s.cfg.Partitions)
	infos, _, err := s.series(r.Context(), []int{partition}, false)
	if err != nil {
		return err
	}
	infos = slices.DeleteFunc(infos, func(i pane.SeriesInfo) bool { return i.Meter != meter })
	if len(infos) == 0 {
		return &problem{
			kind: problemNotFound, status: http.StatusNotFound, parameter: "meter", value: meter,
			detail: fmt.Sprintf("no reading of meter %q has come in", meter), mend: "GET /api/v1/meters lists those that have; ids are case-sensitive",
		}
	}
	t := &table{noun: "registers", head: []field{{"meter", kindString, text(meter)}, {"partition", kindInt, number(partition)}}, columns: []column{
		{name: "register"},
		{name: "code"},
		{name: "kind"},
		{name: "unit"},
		{name: "serial"},
		{name: "last_at", kind: kindInstant},
		{name: "last_length", kind: kindSpan},
		{"last_value", kindDecimal, thousandths},
		{name: "last_quality", kind: kindQuality},
	}}
	return s.answer(w, r, f, t, func(enc encoder) error {
		for _, i := range infos {
			reg, known := i.Register.Info(), i.LastAt != 0
			err := enc.row([]cell{
				text(reg.Alias), text(reg.Code), text(reg.Kind.String()), text(reg.Unit), textOrNull(i.Serial),
				when(known, int64(i.LastAt)), when(i.LastLength > 0, int64(i.LastLength)), when(known && !i.LastVoid, i.LastValue), quality(i.LastQuality),
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// pathParam returns a part of the path.
func pathParam(r *http.Request, name string) (string, error) {
	text := chi.URLParam(r, name)
	if r.URL.RawPath == "" { // else chi matched the path as it was sent
		return text, nil
	}
	part, err := url.PathUnescape(text)
	if err != nil {
		return "", badParam(name, text, "escape it for a path")
	}
	return part, nil
}

// status answers GET /status: a row for each partition, those without an owner among them.
func (s *Server) status(w http.ResponseWriter, r *http.Request) error {
	p := newParams(r.URL.RawQuery, s.cfg.Now(), &s.limits)
	f, err := formatOf(r, p.one("format"))
	if err == nil {
		err = p.done()
	}
	if err != nil {
		return err
	}
	states, err := s.owners.Status(r.Context())
	if err != nil {
		return fmt.Errorf("status: %w", err)
	}
	states = s.withUnowned(r.Context(), states)
	t := &table{noun: "partitions", head: []field{
		{"version", kindString, textOrNull(s.cfg.Version)},
		{"now", kindInstant, instant(s.cfg.Now())},
		{"window", kindSpan, number(int64(s.cfg.Window.Width))},
		{"ready", kindBool, truth(len(notRunning(states, s.cfg.Partitions)) == 0)},
	}, columns: []column{
		{name: "generation", kind: kindInt},
		{name: "partition", kind: kindInt},
		{name: "state"},
		{name: "problem"},
		{name: "epoch", kind: kindInt},
		{name: "owner"},
		{name: "node"},
		{name: "next_seq", kind: kindInt},
		{name: "committed_seq", kind: kindInt},
		{name: "lag", kind: kindInt},
		{name: "watermark", kind: kindInstant},
		{name: "log_time", kind: kindInstant},
		{name: "last_commit", kind: kindInstant},
		{name: "series", kind: kindInt},
		{name: "open_panes", kind: kindInt},
		{name: "tail_bytes", kind: kindInt},
	}}
	return s.answer(w, r, f, t, func(enc encoder) error {
		for _, st := range states {
			err := enc.row([]cell{
				number(st.Generation), number(st.Partition), text(st.State), textOrNull(st.Problem), number(int64(st.Epoch)), textOrNull(st.Owner), textOrNull(st.Node),
				number(int64(st.NextSeq)), number(int64(st.CommittedSeq)), number(int64(st.Lag)), when(st.Watermark > 0, int64(st.Watermark)),
				when(st.LogTime > 0, int64(st.LogTime)), when(st.LastCommit != 0, int64(st.LastCommit)), number(st.Series),
				number(st.OpenPanes), number(st.TailBytes),
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// withUnowned adds a state for each partition that nobody told of, from its head.
func (s *Server) withUnowned(ctx context.Context, states []pane.Status) []pane.Status {
	states = slices.Clone(states)
	for _, p := range s.allPartitions() {
		if slices.ContainsFunc(states, func(st pane.Status) bool { return st.Partition == p }) {
			continue
		}
		st := pane.Status{Partition: p, State: "unowned"}
		if h, _, err := s.heads.LoadHead(ctx, p); err != nil {
			st.Problem = err.Error()
		} else {
			st.Generation, st.Epoch, st.NextSeq, st.CommittedSeq, st.LogTime = h.Generation, h.Epoch, h.NextSeq, h.NextSeq, h.LogTime
			st.Owner, st.Node = h.Owner, h.Node // the last
		}
		states = append(states, st)
	}
	slices.SortFunc(states, func(a, b pane.Status) int { return a.Partition - b.Partition })
	return states
}

// listRejects answers GET /rejects: what ingest refused or, by its reason, what owners let
// expire, newest first.
func (s *Server) listRejects(w http.ResponseWriter, r *http.Request) error {
	p := newParams(r.URL.RawQuery, s.cfg.Now(), &s.limits)
	limit := p.count("limit", 100, 1000)
	before := p.count("before", 0, 1<<53)
	reason := p.one("reason")
	f, err := formatOf(r, p.one("format"))
	if err == nil {
		err = p.done()
	}
	if err != nil {
		return err
	}
	var rejects []gridloom.Reject
	switch {
	case reason == reasonExpired:
		if rejects, err = s.expired(r.Context(), uint64(before), int(limit)); err != nil {
			return fmt.Errorf("expired readings: %w", err)
		}
	case reason != "":
		return badParam("reason", reason, "leave it out, or say "+reasonExpired)
	case s.rejects != nil:
		if rejects, err = s.rejects.Rejects(r.Context(), uint64(before), int(limit)); err != nil {
			return fmt.Errorf("rejects: %w", err)
		}
	}
	t := &table{noun: "rejects", columns: []column{
		{name: "sequence", kind: kindInt},
		{name: "at", kind: kindInstant},
		{name: "reason"},
		{name: "detail"},
		{name: "place"},
		{name: "topic"},
		{name: "client"},
		{name: "payload"},
		{name: "payload_encoding"},
		{name: "cut", kind: kindBool},
	}}
	return s.answer(w, r, f, t, func(enc encoder) error {
		for _, x := range rejects {
			payload, encoding := payloadText(x.Payload)
			err := enc.row([]cell{
				number(int64(x.Sequence)), instant(x.At), text(x.Reason), textOrNull(x.Detail), textOrNull(x.Place), text(x.Topic), textOrNull(x.Client),
				text(payload), text(encoding), truth(x.Cut),
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}
