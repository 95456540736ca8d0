package pane

import "github.com/gridloom/gridloom"

// Selector chooses rows. The zero value chooses everything.
type Selector struct {
	Meters    []string              // sorted; nil means all
	Registers []gridloom.RegisterID // nil means all
	From, To  gridloom.Millis       // rows that overlap [From, To), an instant counting as a span of 1 ms; To 0 means no end
	After     uint64                // raw rows and records only: those with a Sequence above it
	Keys      []string              // records only: sorted; nil means all. Of the others nothing but After concerns records
	Only      Kind                  // of a tail: KindRaw, KindPane, KindRegistry or KindAudit; "" means raw and panes
}

// Tail is one consistent answer of a partition's owner: the manifest that its head
// names, and what it holds on top of that. A pane of the tail replaces the stored
// one of the same series and start; readings merge by identity.
type Tail struct {
	Head      gridloom.Head
	LogTime   gridloom.Millis // log time up to which the owner has read
	Watermark gridloom.Millis
	NextSeq   uint64 // first log sequence that is not in this answer
	Bounds    Bounds // how far retention has come; the manifest may say less
	Readings  []gridloom.Reading
	Panes     []gridloom.Pane
	Records   []Record // of the kind that was asked for, in the order of the log
}

// SeriesInfo is what an owner knows of a series without touching segments.
type SeriesInfo struct {
	Meter       string
	Register    gridloom.RegisterID
	Serial      string
	LastAt      gridloom.Millis // start of the latest reading
	LastLength  gridloom.Millis
	LastValue   int64
	LastVoid    bool
	LastQuality gridloom.Quality
}

// Status is the state of one partition for an operator.
type Status struct {
	Generation   uint32          `json:"generation"`
	Partition    int             `json:"partition"`
	State        string          `json:"state"` // claiming, restoring, running, stopped, fenced
	Problem      string          `json:"problem,omitempty"`
	Epoch        uint64          `json:"epoch"`
	Owner        string          `json:"owner"`         // one start of one process
	Node         string          `json:"node"`          // that process's stable name
	NextSeq      uint64          `json:"next_seq"`      // read so far
	CommittedSeq uint64          `json:"committed_seq"` // the head's next_seq
	Lag          uint64          `json:"lag"`           // frames stored and not yet read
	Watermark    gridloom.Millis `json:"watermark"`
	LogTime      gridloom.Millis `json:"log_time"`
	LastCommit   gridloom.Millis `json:"last_commit"` // wall clock, 0 if none yet
	Series       int             `json:"series"`
	OpenPanes    int             `json:"open_panes"`
	TailBytes    int64           `json:"tail_bytes"`
}
