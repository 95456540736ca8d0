package main

import (
	"bufio"
	"context"
	"fmt"
	"hash/fnv"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/client"
)

// A year of 100 London households, half hour by half hour. What the files hold is
// known from adding them up by other means.
const (
	londonReadings = 1_674_718
	londonSum      = 371_668_934_000 // mWh
	londonAgents   = 4
)

var londonMeters = map[string]int64{"MAC000002": 4_214_648_000, "MAC000003": 7_010_249_000, "MAC000051": 5_344_818_000}

// londonYear is 2013, UTC.
func londonYear() (from, to gridloom.Millis) {
	return gridloom.MillisOf(time.Date(2013, 1, 1, 0, 0, 0, 0, time.UTC)), gridloom.MillisOf(time.Date(2014, 1, 2, 0, 0, 0, 0, time.UTC))
}

// TestLondonYearThroughTheWholePath: real readings replayed by real agents into a
// new server give exact sums; replaying them again changes nothing that can be seen.
func TestLondonYearThroughTheWholePath(t *testing.T) {
	if testing.Short() {
		t.Skip("replays 1.7 million readings three times")
	}
	files, _ := filepath.Glob(filepath.Join(os.Getenv("GRIDLOOM_DATA"), "intervals/lcl-london-2013", "*.csv.gz"))
	if os.Getenv("GRIDLOOM_DATA") == "" || len(files) != 100 {
		skipWithout(t, "GRIDLOOM_DATA with intervals/lcl-london-2013")
	}
	s := newServer(t)
	s.start()
	spools := t.TempDir()

	began := time.Now()
	replay(t, s, files, spools)
	acked := time.Since(began)
	s.awaitFolded()
	s.checkLondon()
	took := time.Since(began)
	s.checkFacts(nil, "lcl")
	t.Logf("acknowledged after %.1f s, queryable after %.1f s", acked.Seconds(), took.Seconds())
	if took > time.Minute { // 15 s on two quiet cores: this machine runs other tests, too
		t.Errorf("a year of 100 meters takes %v from the first PUBLISH to its answer", took)
	}

	again := func() {
		t.Helper()
		if status, took := s.stop(); status != 0 || took > stopLimit {
			t.Fatalf("exit status %d after %v", status, took)
		}
		s.start()
	}
	again() // all that was read is committed now
	want := s.londonAnswers()
	check := func(when string) {
		t.Helper()
		s.awaitFolded()
		defer func() { t.Logf("%s: %.1f s", when, time.Since(began).Seconds()) }()
		got := s.londonAnswers()
		for path, answer := range want {
			if got[path] != answer {
				t.Errorf("%s %s gives %s, was %s", when, path, got[path], answer)
			}
		}
		s.checkLondon()
	}
	s.checkLondon()

	replay(t, s, files, spools)
	check("after a second replay")
	if n := s.alreadyKnown(); n != londonReadings {
		t.Errorf("%v readings of the second replay are counted as known already, want %d", n, londonReadings)
	}
	again()
	check("after a second replay and a restart")

	if err := os.RemoveAll(spools); err != nil { // epochs, too
		t.Fatal(err)
	}
	replay(t, s, files, spools)
	check("after a replay without the old spools")
	if n := s.alreadyKnown(); n != londonReadings {
		t.Errorf("%v readings of the third replay are counted as known already, want %d", n, londonReadings)
	}
	again()
	check("after a replay without the old spools and a restart")
}

// replay runs agents over the files until all is acknowledged.
func replay(t *testing.T, s *server, files []string, spools string) {
	t.Helper()
	agent := builtBinary(t, "edge-agent")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	for a := range londonAgents {
		name := fmt.Sprintf("london-%d", a)
		args := []string{
			"replay", "--connect", "mqtt://" + s.mqtt, "--agent", name, "--spool", filepath.Join(spools, name),
			"--map", "meter=LCLid,at=tstp,value=energy(kWh/hh)", "--register", "energy_import_interval", "--length", "30m", "--unit", "kWh", "--zone", "UTC",
		}
		for i := a; i < len(files); i += londonAgents {
			args = append(args, files[i])
		}
		wg.Go(func() {
			if out, err := exec.CommandContext(ctx, agent, args...).CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s", name, err, out)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// alreadyKnown returns how many readings said what was known.
func (s *server) alreadyKnown() float64 {
	s.t.Helper()
	return s.metric("gridloom_aggregate_duplicates_total") + s.metric("gridloom_aggregate_ranked_total")
}

// metric returns a metric of the server, added up over its labels, 0 if it is not there.
func (s *server) metric(name string) float64 {
	s.t.Helper()
	status, body := s.get("/metrics")
	if status != 200 {
		s.t.Fatalf("/metrics answers %d %s", status, body)
	}
	sum := 0.0
	for line := range strings.Lines(body) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(rest[strings.LastIndexByte(rest, ' '):]), 64)
		if err != nil {
			s.t.Fatalf("/metrics: %q: %v", line, err)
		}
		sum += v
	}
	return sum
}

// awaitFolded waits until the owners have read all that the log holds, longer than
// await would: while a year of readings is replayed they also refold it.
func (s *server) awaitFolded() {
	s.t.Helper()
	unread := regexp.MustCompile(`"lag":[1-9]`)
	for began := time.Now(); ; {
		status, body := s.get("/api/v1/status")
		if status == 200 && strings.Contains(body, `"lag":0`) && !unread.MatchString(body) {
			return
		}
		if time.Since(began) > 90*time.Second {
			s.t.Fatalf("the log is not read to its end: %s", body)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-s.done:
			s.t.Fatalf("gridloom ended (%v); it printed:\n%s", s.cmd.ProcessState, s.out.tail(4000))
		}
	}
}

func (s *server) answer(path string) string {
	s.t.Helper()
	status, body := s.get(path)
	if status != 200 {
		s.t.Fatalf("%s answers %d %s", path, status, body)
	}
	return body
}

// checkLondon compares the sums with what the files hold.
func (s *server) checkLondon() {
	s.t.Helper()
	from, to := londonYear()
	q := client.WindowsQuery{Query: client.Query{Registers: []string{"energy_import_interval"}, From: from, To: to}, Step: 30 * gridloom.Minute, GroupBy: "register"}
	var n, sum, most int64
	var when gridloom.Millis
	for w, err := range s.client().Windows(s.t.Context(), q) {
		if err != nil {
			s.t.Fatal(err)
		}
		n, sum = n+w.N, sum+w.Energy.Thousandths
		if w.Energy.Thousandths > most {
			most, when = w.Energy.Thousandths, w.Start
		}
	}
	if n != londonReadings || sum != londonSum {
		s.t.Errorf("%d readings and %d mWh, want %d and %d", n, sum, londonReadings, int64(londonSum))
	}
	if want := "2013-01-18T19:00:00Z"; most != 51_296_000 || when.String() != want {
		s.t.Errorf("most is %d mWh at %s, want 51,296,000 at %s", most, when, want)
	}
	for meter, want := range londonMeters {
		q := client.WindowsQuery{Query: client.Query{Meters: []string{meter}, Registers: []string{"energy_import_interval"}, From: from, To: to}, Step: 30 * gridloom.Minute}
		sum := int64(0)
		for w, err := range s.client().Windows(s.t.Context(), q) {
			if err != nil {
				s.t.Fatal(err)
			}
			sum += w.Energy.Thousandths
		}
		if sum != want {
			s.t.Errorf("%s has %d mWh, want %d", meter, sum, want)
		}
	}
}

// londonAnswers asks for panes and readings, as fingerprints by path: of some
// meters each pane with all its columns and each reading, of all meters what they
// add up to by window and by meter, with the newest change of each.
func (s *server) londonAnswers() map[string]string {
	s.t.Helper()
	from, to := londonYear()
	span := fmt.Sprintf("format=ndjson&register=energy_import_interval&from=%d&to=%d", from, to)
	paths := []string{"/api/v1/windows?group_by=register&" + span, "/api/v1/windows?group_by=meter&step=1d&" + span, "/api/v1/meters?format=ndjson"}
	for _, meter := range []string{"MAC000002", "MAC000003", "MAC000051", "MAC000100", "MAC000127"} {
		for _, table := range []string{"windows", "readings"} {
			paths = append(paths, "/api/v1/"+table+"?meter="+meter+"&"+span)
		}
	}
	all := map[string]string{}
	for _, path := range paths {
		all[path] = s.fingerprint(path)
	}
	return all
}

// fingerprint reads an answer without holding it: rows, bytes and hash.
func (s *server) fingerprint(path string) string {
	s.t.Helper()
	resp, err := httpGet(s.t.Context(), "http://"+s.http+path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	h, rows, size := fnv.New64a(), 0, 0
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		h.Write(lines.Bytes())
		rows, size = rows+1, size+len(lines.Bytes())
	}
	if err := lines.Err(); err != nil || resp.StatusCode != http.StatusOK {
		s.t.Fatalf("%s answers %d: %v", path, resp.StatusCode, err)
	}
	return fmt.Sprintf("%d rows, %d bytes, %016x", rows, size, h.Sum64())
}

func httpGet(ctx context.Context, url string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	return http.DefaultClient.Do(req)
}
