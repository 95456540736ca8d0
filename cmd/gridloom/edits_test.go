package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// makeEdit makes an edit and returns its id.
func makeEdit(t *testing.T, p *server, body string) uint64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.http+"/api/v1/edits", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var got struct {
		Edit   uint64
		Detail string
	}
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || resp.StatusCode != http.StatusCreated {
		t.Fatalf("POST %s = %d %s, %v", body, resp.StatusCode, got.Detail, err)
	}
	return got.Edit
}

// editsApart edits through one query process: another one knows at once, a process that is
// everything answers the same, and an undo brings back what was.
func editsApart(t *testing.T, up, one, other *server) {
	t.Helper()
	before := rows(t, other, allReadings)
	cells := strings.Split(before[len(before)/2], ",") // meter, register, unit, start
	set := fmt.Sprintf(`{"who":"ada","why":"test","op":"set","meter":%q,"register":%q,"readings":[{"at":%q,"value":7.25}]}`, cells[0], cells[1], cells[3])
	void := fmt.Sprintf(`{"who":"ada","why":"test","op":"void","meter":%q,"register":%q,"readings":[{"at":%q}]}`, cells[0], cells[1], cells[3])
	same := func(what string) []string {
		t.Helper()
		for _, path := range []string{allReadings, allWindows} {
			if diff := cmp.Diff(rows(t, up, path), rows(t, other, path)); diff != "" {
				t.Errorf("%s: %s of a query process differs from that of up:\n%s", what, path, diff)
			}
		}
		return rows(t, other, allReadings)
	}
	ids := map[*server][]uint64{}
	for _, p := range []*server{up, one} {
		ids[p] = append(ids[p], makeEdit(t, p, set))
	}
	if got := same("set"); !slices.ContainsFunc(got, func(l string) bool {
		return strings.HasPrefix(l, strings.Join(cells[:4], ",")) && strings.Contains(l, ",7.25,EDITED,")
	}) {
		t.Errorf("an edit is not in the answers: %q", got)
	}
	for _, p := range []*server{up, one} {
		ids[p] = append(ids[p], makeEdit(t, p, void))
	}
	if got := same("void"); len(got) != len(before)-1 {
		t.Errorf("%d readings after a void, %d before", len(got), len(before))
	}
	for _, p := range []*server{up, one} {
		for _, id := range ids[p] {
			makeEdit(t, p, fmt.Sprintf(`{"who":"bob","why":"test","op":"undo","edit":%d}`, id))
		}
	}
	if diff := cmp.Diff(before, same("undone")); diff != "" {
		t.Errorf("readings before the edits and after they were undone:\n%s", diff)
	}
	if got := rows(t, other, "/api/v1/edits?meter="+cells[0]); len(got) != 4 {
		t.Errorf("the audit trail has %q, want 4 rows", got)
	}
}
