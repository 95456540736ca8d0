package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/gridloom/gridloom"
)

// An edit is what a person did, as the ledger keeps it.
type edit struct {
	ID     uint64      `json:"edit,omitempty"` // 0: unanswered, so that nobody knows whether it was made
	Why    string      `json:"why"`            // tells one edit from every other
	Meter  string      `json:"meter"`
	Undoes uint64      `json:"undoes,omitempty"`
	Rows   []editedRow `json:"rows,omitempty"`
}

// editedRow is what an edit says of a reading.
type editedRow struct {
	Register string          `json:"register"` // alias
	Start    gridloom.Millis `json:"start"`
	Length   gridloom.Millis `json:"length,omitempty"`
	Value    int64           `json:"value,omitempty"` // thousandths
	Void     bool            `json:"void,omitempty"`
}

// An editor edits what agents have sent and was acknowledged, over the REST API: it sets and voids
// readings and undoes its edits. It outlives the server. What was answered is in a ledger, on
// disk, before the next edit; estimates are left to the tests of query, as what they write is worked out by the server.
type editor struct {
	senders []*sender
	every   time.Duration
	rng     *rand.Rand
	file    *os.File

	mu         sync.Mutex
	made       []edit // not undone
	unanswered []edit
	answered   int64
	undone     int64
	refused    int64
	tried      int

	found editFindings // of fleet.check
}

func newEditor(path string, senders []*sender, perSecond int, seed uint64) (*editor, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	return &editor{senders: senders, every: time.Second / time.Duration(perSecond), rng: rand.New(rand.NewPCG(seed, 0x65646974)), file: f}, nil
}

func (e *editor) close() error { return e.file.Close() }

// session edits through one life of the server until ctx ends or the server is gone, neither of which is an error.
func (e *editor) session(ctx context.Context, addr string) error {
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for {
		if rest(ctx, e.every) != nil {
			return nil
		}
		next, body := e.next()
		if body == nil {
			continue // nothing is acknowledged yet
		}
		id, status, err := postEdit(ctx, client, addr, body)
		if gone, err := e.note(next, id, status, err); gone || err != nil {
			return err
		}
	}
}

// note keeps what became of an edit; gone says that the server did not answer at all.
func (e *editor) note(next edit, id uint64, status int, err error) (gone bool, _ error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case err != nil || status == http.StatusServiceUnavailable:
		e.unanswered = append(e.unanswered, next)
		return err != nil, nil
	case status == http.StatusBadRequest && next.Undoes == 0: // such as a void of what another edit has voided
		e.refused++
		return false, nil
	case status != http.StatusCreated:
		return false, fmt.Errorf("edit %q of %s: status %d: %w", next.Why, next.Meter, status, errFound)
	}
	next.ID = id
	line, err := json.Marshal(next)
	if err != nil {
		return false, err
	}
	if _, err := e.file.Write(append(line, '\n')); err != nil {
		return false, err
	}
	if err := e.file.Sync(); err != nil {
		return false, err
	}
	e.answered++
	if next.Undoes != 0 {
		e.undone++
	} else {
		e.made = append(e.made, next)
	}
	return false, nil
}

// next makes an edit, or an undo of one that was answered; body is nil if there is nothing to edit.
func (e *editor) next() (next edit, body []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.tried++
	next.Why = "edit " + strconv.Itoa(e.tried)
	if len(e.made) > 0 && e.rng.IntN(10) < 3 {
		i := e.rng.IntN(len(e.made))
		next.Meter, next.Undoes = e.made[i].Meter, e.made[i].ID
		e.made = slices.Delete(e.made, i, i+1)
		return next, fmt.Appendf(nil, `{"who":"gridbench","why":%q,"op":"undo","edit":%d}`, next.Why, next.Undoes)
	}
	var known []entry
	for range 4 {
		if known = e.senders[e.rng.IntN(len(e.senders))].someAcknowledged(e.rng); len(known) > 0 {
			break
		}
	}
	if len(known) == 0 {
		return next, nil
	}
	next.Meter = known[0].meter
	void := e.rng.IntN(4) == 0
	op := "set"
	if void {
		op = "void"
	}
	body = fmt.Appendf(nil, `{"who":"gridbench","why":%q,"op":%q,"meter":%q,"readings":[`, next.Why, op, next.Meter)
	for i, k := range known {
		row := editedRow{Register: k.register.Info().Alias, Start: k.start, Length: k.length, Void: void}
		if i > 0 {
			body = append(body, ',')
		}
		body = fmt.Appendf(body, `{"register":%q,"at":%d`, row.Register, row.Start)
		if row.Length > 0 {
			body = fmt.Appendf(body, `,"length":"%dm"`, row.Length/gridloom.Minute)
		}
		if !void {
			row.Value = k.value + e.rng.Int64N(400)
			body = fmt.Appendf(body, `,"value":%s`, thousandths(row.Value))
		}
		body = append(body, '}')
		next.Rows = append(next.Rows, row)
	}
	return next, append(body, "]}"...)
}

// postEdit asks a server for an edit. An err says that nobody knows whether it was made.
func postEdit(ctx context.Context, client *http.Client, addr string, body []byte) (id uint64, status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+"/api/v1/edits", bytes.NewReader(body))
	if err != nil {
		return 0, 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return 0, 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err != nil {
		return 0, 0, err
	}
	if resp.StatusCode != http.StatusCreated {
		return 0, resp.StatusCode, nil
	}
	var answer struct{ Edit uint64 }
	if err := json.Unmarshal(text, &answer); err != nil || answer.Edit == 0 {
		return 0, 0, errors.Join(err, fmt.Errorf("an edit was answered with %q", text))
	}
	return answer.Edit, resp.StatusCode, nil
}

// readEdits reads a ledger of edits.
func readEdits(path string) ([]edit, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var list []edit
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e edit
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		list = append(list, e)
	}
	return list, lines.Err()
}

// keepAcknowledged is how many of its latest acknowledged readings a sender remembers for edits.
const keepAcknowledged = 512

// someAcknowledged returns up to five acknowledged readings of one meter, of different identities.
func (s *sender) someAcknowledged(rng *rand.Rand) []entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.recent) == 0 {
		return nil
	}
	meter := s.recent[rng.IntN(len(s.recent))].meter
	var some []entry
	for range 1 + rng.IntN(10) {
		r := s.recent[rng.IntN(len(s.recent))]
		same := func(o entry) bool { return o.register == r.register && o.start == r.start && o.length == r.length }
		if r.meter == meter && len(some) < 5 && !slices.ContainsFunc(some, same) {
			some = append(some, r)
		}
	}
	return some
}
