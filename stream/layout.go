package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/gridloom/gridloom"
)

// Names in NATS (docs/format/subjects.md).
const (
	LogName     = "GRIDLOOM_LOG"
	RejectsName = "GRIDLOOM_REJECTS"
	HeadsName   = "GRIDLOOM_HEADS" // the KV bucket

	headsStream    = "KV_" + HeadsName
	logSubjects    = "gridloom.log.>"
	rejectsSubject = "gridloom.rejects"
	headsSubjects  = "$KV." + HeadsName + ".>"

	metaGeneration = "generation"
	metaPartitions = "partitions"
	metaReady      = "ready"
)

// MaxPartitions bounds what a layout may ask for: each partition is a subject, a
// consumer and a head.
const MaxPartitions = 4096

// Defaults of what Connect creates.
const (
	defaultLogBytes    = 64 << 30
	defaultRejectBytes = 1 << 30
	firstGeneration    = 1
)

func (l Layout) subject(partition int) string {
	return fmt.Sprintf("gridloom.log.%d.%d", l.Generation, partition)
}

func (l Layout) headSubject(partition int) string {
	return fmt.Sprintf("$KV.%s.%d.%d", HeadsName, l.Generation, partition)
}

func (l Layout) metadata() map[string]string {
	return map[string]string{
		metaGeneration: strconv.FormatUint(uint64(l.Generation), 10),
		metaPartitions: strconv.Itoa(l.Partitions),
	}
}

// join brings the three streams into being, or finds them. The log decides the
// layout and is therefore created first; its `ready` is set last, when heads and
// rejects are there. Nobody publishes before it: Connect does not return before it.
func (s *Stream) join(ctx context.Context) error {
	log, err := s.ensure(ctx, s.logConfig())
	if err != nil {
		return err
	}
	info := log.CachedInfo()
	if err := checkLog(&info.Config); err != nil {
		return err
	}
	if s.layout, err = layoutOf(info); err != nil {
		return err
	}
	ready := info.Config.Metadata[metaReady] != ""
	if err := s.joinOthers(ctx, ready); err != nil {
		return err
	}
	if s.frames, err = s.makeReady(ctx, log); err != nil {
		return err
	}
	if err := s.raiseMaxBytes(ctx); err != nil {
		return err
	}
	info = s.frames.CachedInfo()
	s.max = info.Config.MaxBytes
	s.greatest.Store(info.State.LastSeq)
	return nil
}

func (s *Stream) joinOthers(ctx context.Context, logReady bool) error {
	if logReady {
		if _, err := s.js.Stream(ctx, headsStream); errors.Is(err, jetstream.ErrStreamNotFound) {
			s.log.Warn("the heads are missing from a log that was in use: an empty bucket is made; gridloom repair head restores them", "err", err)
		}
	}
	heads, err := s.ensure(ctx, s.headsConfig())
	if err != nil {
		return err
	}
	got, err := layoutOf(heads.CachedInfo())
	if err != nil {
		return err
	}
	if got.Generation != s.layout.Generation || got.Partitions != s.layout.Partitions {
		return fmt.Errorf("%w: heads are of generation %d with %d partitions, the log of generation %d with %d: one of the streams %s and %s was replaced; restore it from a backup",
			gridloom.ErrCorrupt, got.Generation, got.Partitions, s.layout.Generation, s.layout.Partitions, headsStream, LogName)
	}
	if s.heads, err = s.makeReady(ctx, heads); err != nil {
		return err
	}
	rejects, err := s.ensure(ctx, s.rejectsConfig())
	if err != nil {
		return err
	}
	s.rejects, err = s.makeReady(ctx, rejects)
	return err
}

// ensure returns the stream of cfg's name as it is, or creates it. Of two that
// create at once, one finds the other's.
func (s *Stream) ensure(ctx context.Context, cfg jetstream.StreamConfig) (jetstream.Stream, error) {
	told := false
	for try := 1; ; try++ {
		st, err := s.js.Stream(ctx, cfg.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			st, err = s.js.CreateStream(ctx, cfg)
		}
		switch {
		case err == nil:
			return st, nil
		case errors.Is(err, jetstream.ErrStreamNameAlreadyInUse): // somebody else was first
		case try >= roomTries && noRoom(err):
			return nil, fmt.Errorf("%w: create stream %s: %w: the server's max_file_store or the account's limit is below the %s that the stream may grow to; raise it or set a smaller log size",
				gridloom.ErrUnavailable, cfg.Name, err, size(cfg.MaxBytes))
		case hasCode(err, codeOverlap):
			return nil, fmt.Errorf("%w: create stream %s: %w: another stream of this account takes %s; remove it or give gridloom its own account",
				gridloom.ErrInvalid, cfg.Name, err, strings.Join(cfg.Subjects, ", "))
		case hasCode(err, codeStreamCreate), errors.Is(kind(err), gridloom.ErrUnavailable):
			// Of several that create a stream at once each reserves its size for a moment.
			// 10049 comes sporadically from a healthy server; a server that starts
			// has no JetStream for a moment.
			s.met.createRetries.Inc()
		default:
			return nil, kindOf("create stream "+cfg.Name, err)
		}
		if !told {
			told = true
			s.log.Warn("waiting for JetStream", "err", err)
		}
		if !wait(ctx, 100*time.Millisecond) {
			return nil, fmt.Errorf("%w: create stream %s: %w", gridloom.ErrUnavailable, cfg.Name, errors.Join(err, ctx.Err()))
		}
	}
}

// roomTries is how often a creation is refused for want of room until that is believed.
const roomTries = 20

func noRoom(err error) bool {
	return hasCode(err, codeReservations) || hasCode(err, codeNoResources) || hasCode(err, codeAccountStores)
}

// makeReady adds `ready` to the stream's metadata if it is not there. The update
// also makes the server write meta.sum a second time: a crash between meta.inf and
// meta.sum at creation is thereby over before anybody publishes. (natsd's scan
// mends the case of a crash in here.)
func (s *Stream) makeReady(ctx context.Context, st jetstream.Stream) (jetstream.Stream, error) {
	cfg := st.CachedInfo().Config
	if cfg.Metadata[metaReady] != "" {
		return st, nil
	}
	meta := map[string]string{metaReady: "1"}
	for k, v := range cfg.Metadata {
		if !strings.HasPrefix(k, "_nats.") { // the server's own, which it adds again
			meta[k] = v
		}
	}
	cfg.Metadata = meta
	up, err := s.update(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return up, nil
}

func (s *Stream) update(ctx context.Context, cfg jetstream.StreamConfig) (jetstream.Stream, error) {
	for {
		st, err := s.js.UpdateStream(ctx, cfg)
		if err == nil {
			return st, nil
		}
		if !errors.Is(kind(err), gridloom.ErrUnavailable) || hasCode(err, codeReservations) || hasCode(err, codeNoResources) {
			return nil, kindOf("update stream "+cfg.Name, err)
		}
		s.met.createRetries.Inc()
		if !wait(ctx, 100*time.Millisecond) {
			return nil, kindOf("update stream "+cfg.Name, errors.Join(err, ctx.Err()))
		}
	}
}

// raiseMaxBytes lets the configuration make an existing log larger. It never makes
// one smaller: what is stored would have to go.
func (s *Stream) raiseMaxBytes(ctx context.Context) error {
	cfg := s.frames.CachedInfo().Config
	if s.cfg.MaxBytes <= cfg.MaxBytes {
		return nil
	}
	cfg.MaxBytes = s.cfg.MaxBytes
	st, err := s.update(ctx, cfg)
	if err != nil {
		return err
	}
	s.frames = st
	return nil
}

func layoutOf(info *jetstream.StreamInfo) (Layout, error) {
	meta := info.Config.Metadata
	gen, err1 := strconv.ParseUint(meta[metaGeneration], 10, 32)
	parts, err2 := strconv.Atoi(meta[metaPartitions])
	if err1 != nil || err2 != nil || gen == 0 || parts < 1 || parts > MaxPartitions {
		return Layout{}, fmt.Errorf("%w: stream %s has no gridloom layout in its metadata (generation %q, partitions %q): it was not made by gridloom; rename or remove it",
			gridloom.ErrInvalid, info.Config.Name, meta[metaGeneration], meta[metaPartitions])
	}
	return Layout{Generation: uint32(gen), Partitions: parts, Created: info.Created}, nil
}

// checkLog refuses a log whose settings would lose frames by themselves.
func checkLog(c *jetstream.StreamConfig) error {
	var bad string
	switch {
	case c.Retention != jetstream.LimitsPolicy:
		bad = "retention must be limits"
	case c.Discard != jetstream.DiscardNew:
		bad = "discard must be new: otherwise a full log drops what was acknowledged"
	case c.Storage != jetstream.FileStorage:
		bad = "storage must be file"
	case c.MaxAge != 0 || c.MaxMsgs > 0 || c.MaxMsgsPerSubject > 0:
		bad = "max age and message limits must be unset"
	case c.NoAck:
		bad = "no-ack must be off"
	default:
		return nil
	}
	return fmt.Errorf("%w: stream %s: %s", gridloom.ErrInvalid, c.Name, bad)
}

func (s *Stream) logConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        LogName,
		Description: "gridloom: frames of readings, edits, registry changes and ticks",
		Subjects:    []string{logSubjects},
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardNew,
		Storage:     jetstream.FileStorage,
		Replicas:    s.cfg.Replicas,
		MaxBytes:    s.logBytes(),
		Metadata:    Layout{Generation: firstGeneration, Partitions: s.cfg.Partitions}.metadata(),
		// The smallest window that the server takes: identity decides what is a
		// duplicate, message ids are never used.
		Duplicates: 100 * time.Millisecond,
		DenyDelete: true,
	}
}

// headsConfig is what nats.go makes for a KV bucket with a history of 1, but
// without direct get: that may be answered by a replica that lags behind.
func (s *Stream) headsConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              headsStream,
		Description:       "gridloom: one head per partition",
		Subjects:          []string{headsSubjects},
		Retention:         jetstream.LimitsPolicy,
		Discard:           jetstream.DiscardNew,
		Storage:           jetstream.FileStorage,
		Replicas:          s.cfg.Replicas,
		MaxMsgsPerSubject: 1,
		MaxBytes:          -1,
		MaxMsgSize:        -1,
		AllowRollup:       true,
		DenyDelete:        true,
		AllowDirect:       false,
		Metadata:          s.layout.metadata(),
	}
}

func (s *Stream) rejectsConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        RejectsName,
		Description: "gridloom: what ingest could not take",
		Subjects:    []string{rejectsSubject},
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardOld,
		Storage:     jetstream.FileStorage,
		Replicas:    s.cfg.Replicas,
		MaxBytes:    s.rejectBytes(),
		Duplicates:  100 * time.Millisecond,
	}
}

func (s *Stream) logBytes() int64 {
	return limit(s.cfg.MaxBytes, s.room.total()/4, defaultLogBytes)
}

func (s *Stream) rejectBytes() int64 {
	return limit(s.cfg.RejectBytes, s.room.total()/16, defaultRejectBytes)
}

// limit returns what is configured, else the disk's share where a disk is known, up to most.
func limit(configured, share, most int64) int64 {
	switch {
	case configured > 0:
		return configured
	case share > 0:
		return min(share, most)
	}
	return most
}
