package main

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
)

// TestLateCountsWhatTheWindowsTell: every object of history, late ones and backlogs arrives once, and
// a window that counts one reading less is found.
func TestLateCountsWhatTheWindowsTell(t *testing.T) {
	srv := newFakeServer(t)
	args := []string{
		"late", "--mqtt", srv.addr(), "--http", srv.httpAddr(), "--meters", "12", "--days", "2", "--step", "1h",
		"--late", "90", "--devices", "3", "--backlog-days", "1", "--json",
	}
	var out strings.Builder
	if err := run(t.Context(), args, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	var r lateReport
	if err := json.Unmarshal([]byte(out.String()), &r); err != nil {
		t.Fatal(err)
	}
	if r.LateReadings != 90 || r.HistoryReadings != 12*48*3-90 || r.BacklogReadings != 3*24*3 || r.Missing != 0 {
		t.Errorf("the report says %+v; want 90 late of %d readings, backlogs of %d, none missing", r, 12*48*3, 3*24*3)
	}
	if r.LateAckedMs > r.LateAnsweredMs || r.LateAnsweredMs > r.LateCommittedMs {
		t.Errorf("acknowledged after %v, answered after %v, committed after %v ms", r.LateAckedMs, r.LateAnsweredMs, r.LateCommittedMs)
	}

	srv.spoilWindow = func(row *map[string]any) int {
		if n, ok := (*row)["n"].(int64); ok && n > 0 && (*row)["meter"] == meterID(3) {
			(*row)["n"] = n - 1
		}
		return 1
	}
	if err := run(t.Context(), args, io.Discard, io.Discard); !errors.Is(err, errFound) {
		t.Errorf("windows that count too little: %v, want %v", err, errFound)
	}
}
