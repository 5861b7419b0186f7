// Package desk is the kind for people: a work queue over HTTP with the contract of a machine.
// Send hands the work over (pending); an officer opens, accepts, completes or rejects it, and
// that answer comes in through the Edge like any other message. The queue itself is the
// ledger's awaiting deliveries; a desk stores nothing.
package desk

import (
	"context"
	"crypto/subtle"
	"embed"
	"encoding/json"
	"errors"
	"html/template"
	"net/http"
	"sort"
	"strings"
	"time"

	"caruban/adapters"
	"caruban/adapters/look"
	"caruban/contracts"
)

//go:embed pages/*.html
var pages embed.FS

// Config is what an agency's IT writes for a desk.
type Config struct {
	Title string          `yaml:"title" required:"true" doc:"the desk's name as officers read it"`
	Token string          `yaml:"token" doc:"name of the secret that signs officers in; without it the desk stands open on loopback only"`
	Forms map[string]Form `yaml:"forms" required:"true" doc:"per contract type: what the officer may answer"`
}

// Form is what an officer can do with one type of work.
type Form struct {
	Title  string   `yaml:"title" required:"true"`
	Due    string   `yaml:"due" doc:"duration until the answer is due"`
	Reject []Reason `yaml:"reject" doc:"the reasons an officer may give"`
	Fields []Field  `yaml:"fields" doc:"what is typed when the work is completed"`
}

// Reason is a code with its plain words.
type Reason struct {
	Code  string `yaml:"code" required:"true"`
	Words string `yaml:"words" required:"true"`
}

// Field is one input of the form.
type Field struct {
	Name  string `yaml:"name" required:"true"`
	Label string `yaml:"label" required:"true"`
	Kind  string `yaml:"kind" enum:"text,date,number" doc:"default text"`
}

// Item is one piece of work as its desk may see it.
type Item struct {
	ID, Type, Case, Claimed string
	Since, Due              time.Time // UTC
	Data                    json.RawMessage
}

// Queue is the part of the ledger a desk works on; data comes projected for the desk's function.
type Queue interface {
	Items(ctx context.Context, system string) ([]Item, error)
	Open(ctx context.Context, system, id, officer string) (Item, error)
	Claim(ctx context.Context, system, id, officer string) error
}

// Desk is one configured desk.
type Desk struct {
	settings adapters.Settings
	config   Config
	queue    Queue
	pages    *template.Template
}

// New builds a desk over its queue.
func New(s adapters.Settings, c Config, q Queue) (*Desk, error) {
	t, err := look.Pages(pages, "pages/*.html")
	if err != nil {
		return nil, err
	}
	return &Desk{s, c, q, t}, nil
}

// Factory declares the kind; the queue is the ledger's and is handed in.
func Factory(q Queue) adapters.Factory {
	return adapters.NewFactory("desk", "a human work queue over HTTP", Config{}, func(s adapters.Settings, c Config) (adapters.Adapter, error) {
		return New(s, c, q)
	})
}

// Close has nothing to release.
func (d *Desk) Close() error { return nil }

// Send hands work over: it stands in the queue as soon as the ledger has it awaiting.
func (d *Desk) Send(_ context.Context, c adapters.Call) (adapters.Reply, error) {
	if _, ok := d.config.Forms[c.Type]; !ok {
		return adapters.Reply{}, contracts.Fault{Class: contracts.ConfigFault, Op: "queue at " + d.settings.System, Rule: "no_form", Say: "the desk has no form for " + c.Type}
	}
	return adapters.Reply{Sent: true, Code: "202", Body: []byte(`{}`)}, nil
}

// Mount serves the desk below /desk/<system>/: pages for people, JSON for programs.
func (d *Desk) Mount(take adapters.Take) (string, http.Handler) {
	base := "/desk/" + d.settings.System + "/"
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+base+"{$}", d.list)
	mux.HandleFunc("GET "+base+"items/{id}", d.open)
	mux.HandleFunc("POST "+base+"items/{id}/accept", d.accept)
	mux.HandleFunc("POST "+base+"items/{id}/complete", d.answer(take, "complete"))
	mux.HandleFunc("POST "+base+"items/{id}/reject", d.answer(take, "reject"))
	return base, look.Secure(d.signedIn(mux))
}

func (d *Desk) signedIn(next http.Handler) http.Handler {
	token := d.settings.Secrets[d.config.Token]
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, password, _ := r.BasicAuth()
		if !token.IsZero() && subtle.ConstantTimeCompare([]byte(password), []byte(token.Reveal())) != 1 {
			w.Header().Set("WWW-Authenticate", `Basic realm="desk"`)
			http.Error(w, "Masuk dulu dengan nama dan kata sandi meja ini.", http.StatusUnauthorized)
			return
		}
		if r.Method == http.MethodPost && r.Header.Get("Sec-Fetch-Site") != "" && r.Header.Get("Sec-Fetch-Site") != "same-origin" {
			http.Error(w, "Permintaan dari halaman lain ditolak.", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func officer(r *http.Request) string {
	name, _, _ := r.BasicAuth()
	if name == "" {
		return "petugas"
	}
	return name
}

func wantsJSON(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept"), "application/json")
}

func (d *Desk) list(w http.ResponseWriter, r *http.Request) {
	items, err := d.queue.Items(r.Context(), d.settings.System)
	if err != nil {
		d.wrong(w, "list", err)
		return
	}
	sort.Slice(items, func(i, j int) bool { return items[i].Due.Before(items[j].Due) })
	if wantsJSON(r) {
		writeJSON(w, http.StatusOK, map[string]any{"count": len(items), "items": brief(items)})
		return
	}
	d.page(w, "list", map[string]any{"Items": items, "Forms": d.config.Forms})
}

// brief lists items without their content; opening one is what is audited.
func brief(items []Item) []map[string]any {
	out := make([]map[string]any, 0, len(items))
	for _, i := range items {
		out = append(out, map[string]any{"id": i.ID, "type": i.Type, "case": i.Case, "since": i.Since, "due": i.Due, "claimed": i.Claimed})
	}
	return out
}

func (d *Desk) open(w http.ResponseWriter, r *http.Request) {
	item, err := d.queue.Open(r.Context(), d.settings.System, r.PathValue("id"), officer(r))
	if err != nil {
		http.Error(w, "Tugas ini tidak ada atau sudah selesai.", http.StatusNotFound)
		return
	}
	if wantsJSON(r) {
		writeJSON(w, http.StatusOK, map[string]any{"id": item.ID, "type": item.Type, "case": item.Case, "since": item.Since, "due": item.Due, "claimed": item.Claimed, "data": item.Data})
		return
	}
	d.page(w, "item", map[string]any{"Item": item, "Rows": rows("", item.Data), "Form": d.config.Forms[item.Type], "Typed": map[string]any{}})
}

func (d *Desk) accept(w http.ResponseWriter, r *http.Request) {
	if err := d.queue.Claim(r.Context(), d.settings.System, r.PathValue("id"), officer(r)); err != nil {
		http.Error(w, "Tugas ini tidak ada atau sudah selesai.", http.StatusNotFound)
		return
	}
	if wantsJSON(r) {
		writeJSON(w, http.StatusOK, map[string]any{"claimed": officer(r)})
		return
	}
	http.Redirect(w, r, "/desk/"+d.settings.System+"/items/"+r.PathValue("id"), http.StatusSeeOther)
}

// answer posts what the officer typed through the Edge; the endpoint is "<type>:complete" or ":reject".
func (d *Desk) answer(take adapters.Take, act string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
		id := r.PathValue("id")
		item, err := d.queue.Open(r.Context(), d.settings.System, id, officer(r))
		if err != nil {
			http.Error(w, "Tugas ini tidak ada atau sudah selesai.", http.StatusNotFound)
			return
		}
		typed, err := form(r)
		if err != nil {
			http.Error(w, "Isian tidak dapat dibaca.", http.StatusBadRequest)
			return
		}
		body, err := json.Marshal(map[string]any{"item": item.Data, "case": item.Case, "form": typed, "officer": officer(r)})
		if err != nil {
			d.wrong(w, act, errors.New("form cannot be encoded"))
			return
		}
		a := take(r.Context(), adapters.Raw{Endpoint: item.Type + ":" + act, Ref: id + ":" + act, Header: map[string]string{"Delivery": id}, Body: body})
		if wantsJSON(r) {
			writeJSON(w, int(a.Status), map[string]any{"receipt": a.Receipt, "faults": a.Faults})
			return
		}
		if a.Stored() {
			http.Redirect(w, r, "/desk/"+d.settings.System+"/", http.StatusSeeOther)
			return
		}
		w.WriteHeader(int(a.Status))
		d.page(w, "item", map[string]any{"Item": item, "Rows": rows("", item.Data), "Form": d.config.Forms[item.Type], "Faults": a.Faults, "Typed": typed})
	}
}

func form(r *http.Request) (map[string]any, error) {
	typed := map[string]any{}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		err := json.NewDecoder(r.Body).Decode(&typed)
		return typed, err
	}
	if err := r.ParseForm(); err != nil {
		return nil, err
	}
	for k := range r.PostForm {
		typed[k] = strings.TrimSpace(r.PostForm.Get(k))
	}
	return typed, nil
}

// row is one line of the item's page.
type row struct{ Place, Value string }

func rows(prefix string, data json.RawMessage) []row {
	var object map[string]json.RawMessage
	if json.Unmarshal(data, &object) != nil {
		var text string
		if json.Unmarshal(data, &text) != nil {
			text = string(data)
		}
		return []row{{strings.TrimPrefix(prefix, " › "), text}}
	}
	keys := make([]string, 0, len(object))
	for k := range object {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	var out []row
	for _, k := range keys {
		out = append(out, rows(prefix+" › "+strings.ReplaceAll(k, "_", " "), object[k])...)
	}
	return out
}

func (d *Desk) page(w http.ResponseWriter, name string, data map[string]any) {
	data["Title"], data["Place"], data["Home"] = d.config.Title, d.config.Title, "/desk/"+d.settings.System+"/"
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err := d.pages.ExecuteTemplate(w, name, data); err != nil {
		d.settings.Log.Error("page", "desk", d.settings.System, "page", name)
	}
}

func (d *Desk) wrong(w http.ResponseWriter, act string, err error) {
	d.settings.Log.Error("desk", "system", d.settings.System, "act", act, "error", err)
	http.Error(w, "Ada kesalahan di sistem kami, bukan pada isian Anda. Isian tersimpan.", http.StatusInternalServerError)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the peer is gone: nobody is left to tell
}
