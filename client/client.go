// Package client asks a gridloom server over its REST API: what meters there are
// (meters.go), their readings and their windows (rows.go), each as an iterator over
// NDJSON that holds one row at a time. client.go makes the requests and turns
// problem documents into errors of the five kinds; value.go reads decimals and
// times without a floating point number in between. docs/api.md tells what the
// answers mean.
package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strings"

	"github.com/gridloom/gridloom"
)

// Client asks one server. Its methods may be called at once.
type Client struct {
	base *url.URL
	http *http.Client
}

// New returns a client of the server at base, such as http://localhost:8080, or
// ErrInvalid. A nil transport is http.DefaultClient.
func New(base string, transport *http.Client) (*Client, error) {
	u, err := url.Parse(strings.TrimSuffix(base, "/"))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("%w: server %q: want an address such as http://localhost:8080", gridloom.ErrInvalid, base)
	}
	if transport == nil {
		transport = http.DefaultClient
	}
	return &Client{base: u, http: transport}, nil
}

// Problem is what a server says that it cannot answer (RFC 9457). It is of the kind
// ErrInvalid (4xx), ErrNotFound (404), ErrUnavailable (503) or ErrCorrupt.
type Problem struct {
	Type      string `json:"type"` // urn:gridloom:problem:…, see docs/api.md
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail"`
	Mend      string `json:"mend"` // what the client can do
	Parameter string `json:"parameter"`
	Value     string `json:"value"`
}

// Error says what is wrong and how to mend it.
func (p *Problem) Error() string {
	s := p.Title
	if p.Detail != "" {
		s = p.Detail
	}
	if p.Mend != "" {
		s += ": " + p.Mend
	}
	return s
}

// Unwrap returns the kind of failure.
func (p *Problem) Unwrap() error {
	switch {
	case p.Type == "urn:gridloom:problem:corrupt":
		return gridloom.ErrCorrupt
	case p.Status == http.StatusNotFound:
		return gridloom.ErrNotFound
	case p.Status >= 400 && p.Status < 500:
		return gridloom.ErrInvalid
	}
	return gridloom.ErrUnavailable
}

// get asks for a path below the base as the given media type. The caller closes the body.
func (c *Client) get(ctx context.Context, path, accept string, query url.Values) (io.ReadCloser, error) {
	u := c.base.JoinPath(path)
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", gridloom.ErrInvalid, err)
	}
	req.Header.Set("Accept", accept)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", gridloom.ErrUnavailable, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	p := &Problem{Status: resp.StatusCode, Title: resp.Status}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(p); err != nil {
		p.Detail = fmt.Sprintf("%s answered %s without a problem document", u.Host, resp.Status)
	}
	p.Status = resp.StatusCode
	return nil, p
}

// maxLine bounds one row: a reject holds its payload.
const maxLine = 1 << 20

// rows asks for NDJSON and yields each line as a T. An answer that was cut off ends
// with ErrUnavailable. Nothing follows an error.
func rows[T any](ctx context.Context, c *Client, path string, query url.Values) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		body, err := c.get(ctx, path, "application/x-ndjson", query)
		if err != nil {
			yield(none, fmt.Errorf("GET %s: %w", path, err))
			return
		}
		defer body.Close()
		lines := bufio.NewScanner(body)
		lines.Buffer(make([]byte, 0, 64<<10), maxLine)
		for lines.Scan() {
			var row T
			if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
				// A broken line is the end of an answer that was cut off: the reader's own error says more.
				if cut := lines.Err(); cut == nil && !lines.Scan() && lines.Err() != nil {
					err = lines.Err()
				}
				yield(none, fmt.Errorf("GET %s: %w: %w", path, gridloom.ErrUnavailable, err))
				return
			}
			if !yield(row, nil) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			if errors.Is(err, io.ErrUnexpectedEOF) {
				err = errors.New("the answer was cut off, which the server does when it fails midway")
			}
			yield(none, fmt.Errorf("GET %s: %w: %w", path, gridloom.ErrUnavailable, err))
		}
	}
}
