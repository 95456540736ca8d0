package gridloom

import "time"

// Head is the one small compare-and-set record of a partition: who owns it, how
// far it has read the log and which manifest holds the result. One swap moves all
// three together. It is stored as JSON (docs/format/head.md), below MaxHeadBytes.
type Head struct {
	Format        int       `json:"format"` // HeadFormat
	Generation    uint32    `json:"generation"`
	Partition     int       `json:"partition"`
	Epoch         uint64    `json:"epoch"` // fencing token: every claim adds one
	Owner         string    `json:"owner"` // one start of one process
	Node          string    `json:"node"`  // the machine's stable name
	CommitID      string    `json:"commit_id"`
	NextSeq       uint64    `json:"next_seq"` // first log sequence that is not in the manifest
	LastRef       FrameRef  `json:"last_ref"`
	StreamCreated time.Time `json:"stream_created"`
	Manifest      FileRef   `json:"manifest"`
	LogTime       Millis    `json:"log_time"` // greatest log time of the frames before NextSeq
}

// HeadFormat is the version of Head's JSON form.
const HeadFormat = 1

// MaxHeadBytes bounds a head's JSON form.
const MaxHeadBytes = 4096

// FrameRef names a frame of the log and what it held. The zero value is "none yet".
type FrameRef struct {
	Seq uint64 `json:"seq"`
	CRC uint32 `json:"crc"` // CRC-32C of the frame's bytes
}

// FileRef names an immutable file of the store and what it holds. The zero value is "none yet".
type FileRef struct {
	Path string `json:"path"` // below the store's root, with forward slashes
	CRC  uint32 `json:"crc"`  // CRC-32C of the whole file
}
