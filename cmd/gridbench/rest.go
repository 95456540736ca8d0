package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gridloom/gridloom"
)

// api is the REST API of one server.
type api struct {
	base   string // http://127.0.0.1:8080
	client *http.Client

	// How long an answer of 503 is asked for again, and how often that was. What is
	// checked is what a server says, not how soon.
	patience time.Duration
	repeated int
}

func newAPI(addr string) *api {
	return &api{
		base:   "http://" + addr,
		client: &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 16}},
	}
}

func (a *api) close() { a.client.CloseIdleConnections() }

// get opens path with a query; an answer that is not 200 is an error with its text.
func (a *api) get(ctx context.Context, path string, q url.Values) (io.ReadCloser, error) {
	u := a.base + path
	if len(q) > 0 {
		u += "?" + q.Encode()
	}
	for begun := time.Now(); ; {
		body, status, err := a.ask(ctx, path, u)
		if status != http.StatusServiceUnavailable || time.Since(begun) >= a.patience {
			return body, err
		}
		a.repeated++
		if rest(ctx, 500*time.Millisecond) != nil {
			return nil, err
		}
	}
}

// ask asks once.
func (a *api) ask(ctx context.Context, path, u string) (_ io.ReadCloser, status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, http.NoBody)
	if err != nil {
		return nil, 0, err
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return nil, 0, err
	}
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		resp.Body.Close()
		return nil, resp.StatusCode, fmt.Errorf("GET %s: %s: %s", path, resp.Status, strings.TrimSpace(string(text)))
	}
	return resp.Body, resp.StatusCode, nil
}

func (a *api) ready(ctx context.Context) error {
	body, err := a.get(ctx, "/readyz", nil)
	if err != nil {
		return err
	}
	return body.Close()
}

// partitionStatus is what /api/v1/status tells of one partition.
type partitionStatus struct {
	Partition    int    `json:"partition"`
	Owner        string `json:"owner"`
	State        string `json:"state"`
	NextSeq      uint64 `json:"next_seq"`
	CommittedSeq uint64 `json:"committed_seq"`
	Lag          uint64 `json:"lag"`
	TailBytes    int64  `json:"tail_bytes"`
}

func (a *api) status(ctx context.Context) ([]partitionStatus, error) {
	body, err := a.get(ctx, "/api/v1/status", nil)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	var s struct {
		Partitions []partitionStatus `json:"partitions"`
	}
	if err := json.NewDecoder(body).Decode(&s); err != nil {
		return nil, fmt.Errorf("/api/v1/status: %w", err)
	}
	if len(s.Partitions) == 0 {
		return nil, errors.New("/api/v1/status lists no partitions")
	}
	return s.Partitions, nil
}

// servedReading is one row of /api/v1/readings.
type servedReading struct {
	Meter    string      `json:"meter"`
	Register string      `json:"register"`
	Start    string      `json:"start"`
	Length   string      `json:"length"` // "" if null: an instant
	Value    json.Number `json:"value"`
}

// identity returns what the reading competes for.
func (r *servedReading) identity() (k seriesKey, at spot, err error) {
	if k, err = keyOf(r.Meter, r.Register); err != nil {
		return k, at, err
	}
	if at.start, err = gridloom.ParseInstant(r.Start); err != nil {
		return k, at, err
	}
	at.length, err = parseSpan(r.Length)
	return k, at, err
}

// servedWindow is one row of /api/v1/windows. Amounts are "" where null.
type servedWindow struct {
	Meter      string      `json:"meter"`
	Register   string      `json:"register"`
	Start      string      `json:"start"`
	N          int64       `json:"n"`
	Energy     json.Number `json:"energy"`
	Sum        json.Number `json:"sum"`
	Min        json.Number `json:"min"`
	Max        json.Number `json:"max"`
	Mean       json.Number `json:"mean"`
	CoverageMs int64       `json:"coverage_ms"`
}

func keyOf(meter, register string) (seriesKey, error) {
	id, ok := gridloom.RegisterByName(register)
	if !ok {
		return seriesKey{}, fmt.Errorf("unknown register %q", register)
	}
	return seriesKey{meter, id}, nil
}

// parseSpan reads a span of whole numbers and units, such as 1h30m or 500ms; "" is none.
func parseSpan(s string) (gridloom.Millis, error) {
	if s == "" {
		return 0, nil
	}
	days, rest, ok := strings.Cut(s, "d")
	if !ok {
		days, rest = "0", s
	}
	n, err := strconv.ParseInt(days, 10, 32)
	if err != nil || rest == "" {
		return gridloom.Millis(n) * gridloom.Day, err
	}
	d, err := time.ParseDuration(rest)
	return gridloom.Millis(n)*gridloom.Day + gridloom.SpanOf(d), err
}

// rows calls fn for every line of an NDJSON answer.
func rows[T any](ctx context.Context, a *api, path string, q url.Values, fn func(*T) error) error {
	q.Set("format", "ndjson")
	body, err := a.get(ctx, path, q)
	if err != nil {
		return err
	}
	defer body.Close()
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var row T
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			return fmt.Errorf("%s: line %q: %w", path, lines.Text(), err)
		}
		if err := fn(&row); err != nil {
			return fmt.Errorf("%s: line %q: %w", path, lines.Text(), err)
		}
	}
	return lines.Err()
}

// selectMeters builds the query for some meters and the span [from, to).
func selectMeters(meters []string, from, to gridloom.Millis) url.Values {
	return url.Values{"meters": {strings.Join(meters, ",")}, "from": {from.String()}, "to": {to.String()}}
}

// parseThousandths reads a decimal number of at most three places exactly.
func parseThousandths(s string) (int64, error) {
	digits, neg := strings.CutPrefix(s, "-")
	whole, fraction, _ := strings.Cut(digits, ".")
	if whole == "" || len(whole) > 16 || len(fraction) > 3 {
		return 0, fmt.Errorf("%q is not a decimal of at most three places", s)
	}
	var v int64
	for _, c := range whole + (fraction + "000")[:3] {
		if c < '0' || c > '9' {
			return 0, fmt.Errorf("%q is not a decimal of at most three places", s)
		}
		v = v*10 + int64(c-'0')
	}
	if neg {
		v = -v
	}
	return v, nil
}
