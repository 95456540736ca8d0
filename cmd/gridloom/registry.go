package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/gridloom/gridloom/internal/registry"
)

// Bounds of what the commands of the registry ask for and send.
const (
	registryTimeout = 2 * time.Minute // of one request
	registryPage    = 10_000          // entries of a list
	registryBatch   = 1000            // entries that are sent at once
	registryBytes   = 4 << 20         // of them
	maxFileBytes    = 256 << 20
	maxAnswerBytes  = 1 << 30
)

// runRegistry runs `gridloom registry import` and `gridloom registry export`.
func runRegistry(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 || args[0] != "import" && args[0] != "export" {
		return fmt.Errorf("%w: registry what? gridloom registry import FILE, or gridloom registry export", errUsage)
	}
	fs := flag.NewFlagSet("gridloom registry "+args[0], flag.ContinueOnError)
	addr := fs.String("http", "localhost:8080", "`address` of a gridloom that answers queries")
	check := new(bool)
	if args[0] == "import" {
		check = fs.Bool("check", false, "tell what is wrong and what would be written, and write nothing")
	}
	// The file may stand before the flags.
	rest, file := args[1:], ""
	if args[0] == "import" && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
		file, rest = rest[0], rest[1:]
	}
	if err := parseFlags(fs, rest, stderr); err != nil {
		return err
	}
	if args[0] == "import" && file == "" && fs.NArg() == 1 {
		file = fs.Arg(0)
	} else if fs.NArg() > 0 {
		return fmt.Errorf("%w: registry %s does not know what to do with %q", errUsage, args[0], fs.Arg(0))
	}
	c := registryClient{base: "http://" + *addr + "/api/v1/registry"}
	if args[0] == "export" {
		return c.export(ctx, stdout)
	}
	if file == "" {
		return fmt.Errorf("%w: which file? gridloom registry import FILE.yaml or FILE.csv", errUsage)
	}
	return c.importFile(ctx, file, *check, stdout, stderr)
}

// registryClient speaks to the registry of a server.
type registryClient struct{ base string }

// readRegistryFile reads a file by its ending and tells its faults.
func readRegistryFile(name string) (registry.File, []registry.FileFault, error) {
	var read func([]byte) (registry.File, []registry.FileFault)
	switch {
	case strings.HasSuffix(name, ".yaml"), strings.HasSuffix(name, ".yml"):
		read = registry.ReadYAML
	case strings.HasSuffix(name, ".csv"):
		read = registry.ReadCSV
	default:
		return registry.File{}, nil, fmt.Errorf("%w: %s: its name must end in .yaml, .yml or .csv", errUsage, name)
	}
	info, err := os.Stat(name)
	if err == nil && info.Size() > maxFileBytes {
		err = fmt.Errorf("%s has %d bytes, more than %d: split it", name, info.Size(), maxFileBytes)
	}
	if err != nil {
		return registry.File{}, nil, err
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return registry.File{}, nil, err
	}
	f, faults := read(data)
	return f, faults, nil
}

// importFile checks all of a file, and then writes what is not there as it is.
func (c *registryClient) importFile(ctx context.Context, name string, check bool, stdout, stderr io.Writer) error {
	file, faults, err := readRegistryFile(name)
	if err != nil {
		return err
	}
	if len(faults) > 0 {
		return tellFaults(name, faults, stderr)
	}
	nodes, meters, err := c.everything(ctx)
	if err != nil {
		return err
	}
	network := registry.Topology{}
	for id, text := range nodes {
		if network[id], err = registry.ParseNode(text); err != nil {
			return fmt.Errorf("node %q of the server: %w", id, err)
		}
	}
	if faults := file.CheckNetwork(network); len(faults) > 0 {
		return tellFaults(name, faults, stderr)
	}
	fresh := func(list []registry.FileEntry, there map[string]json.RawMessage) (out []registry.FileEntry) {
		for i := range list {
			if string(there[list[i].ID]) != string(list[i].Text) {
				out = append(out, list[i])
			}
		}
		return out
	}
	newNodes, newMeters := fresh(file.Nodes, nodes), fresh(file.Meters, meters)
	verb := "written"
	if check {
		verb = "to be written"
	} else if err := c.send(ctx, "nodes", newNodes); err != nil {
		return err
	} else if err := c.send(ctx, "meters", newMeters); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%d nodes and %d meters %s, %d there as they are\n", len(newNodes), len(newMeters), verb,
		len(file.Nodes)+len(file.Meters)-len(newNodes)-len(newMeters))
	return nil
}

// tellFaults prints each fault with its place.
func tellFaults(name string, faults []registry.FileFault, stderr io.Writer) error {
	for _, f := range faults {
		fmt.Fprintf(stderr, "%s:%d:%d: %s\n", name, f.Line, f.Column, strings.ReplaceAll(f.Text, "\n", "; "))
	}
	return fmt.Errorf("%s: faults: %d; nothing was written", name, len(faults))
}

// send writes entries of one class in batches.
func (c *registryClient) send(ctx context.Context, class string, list []registry.FileEntry) error {
	for sent := 0; sent < len(list); {
		part, size := map[string]json.RawMessage{}, 0
		for len(part) < registryBatch && size < registryBytes && sent+len(part) < len(list) {
			e := &list[sent+len(part)]
			part[e.ID] = e.Text
			size += len(e.ID) + len(e.Text)
		}
		body, err := json.Marshal(map[string]any{class: part})
		if err != nil {
			return err
		}
		if err := c.ask(ctx, http.MethodPost, "", body, new(struct{})); err != nil {
			return fmt.Errorf("%d of %d %s were written; run it again for the others: %w", sent, len(list), class, err)
		}
		sent += len(part)
	}
	return nil
}

// everything returns all entries by id.
func (c *registryClient) everything(ctx context.Context) (nodes, meters map[string]json.RawMessage, err error) {
	if nodes, err = c.all(ctx, "nodes"); err == nil {
		meters, err = c.all(ctx, "meters")
	}
	return nodes, meters, err
}

// all returns every entry of a class by id.
func (c *registryClient) all(ctx context.Context, class string) (map[string]json.RawMessage, error) {
	type entry struct {
		ID    string          `json:"id"`
		Entry json.RawMessage `json:"entry"`
	}
	out := map[string]json.RawMessage{}
	for after := ""; ; {
		var page struct {
			Nodes  []entry `json:"nodes"`
			Meters []entry `json:"meters"`
			Next   string  `json:"next"`
		}
		if err := c.ask(ctx, http.MethodGet, fmt.Sprintf("/%s?limit=%d&after=%s", class, registryPage, url.QueryEscape(after)), nil, &page); err != nil {
			return nil, err
		}
		for _, e := range append(page.Nodes, page.Meters...) {
			out[e.ID] = e.Entry
		}
		if after = page.Next; after == "" {
			return out, nil
		}
	}
}

// export prints all entries as a file that import reads.
func (c *registryClient) export(ctx context.Context, stdout io.Writer) error {
	nodes, meters, err := c.everything(ctx)
	if err != nil {
		return err
	}
	text, err := registry.AppendYAML(nil, nodes, meters)
	if err == nil {
		_, err = stdout.Write(text)
	}
	return err
}

// ask makes one request and reads the answer into v.
func (c *registryClient) ask(ctx context.Context, method, path string, body []byte, v any) error {
	ctx, cancel := context.WithTimeout(ctx, registryTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%w: --http: %w", errUsage, err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("%w: is gridloom up or query running there? --http says where", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, c.base, err)
	}
	if resp.StatusCode != http.StatusOK {
		var p struct{ Detail, Mend string }
		if err := json.Unmarshal(text, &p); err != nil || p.Detail == "" {
			return fmt.Errorf("%s %s answers %s", method, c.base, resp.Status)
		}
		return fmt.Errorf("%s: %s", p.Detail, p.Mend)
	}
	return json.Unmarshal(text, v)
}
