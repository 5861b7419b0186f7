// Package portal is the citizens' face: pages that read views and post messages through the
// Edge. It owns no business state; every form is data in its configuration.
package portal

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"embed"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"caruban/adapters"
	"caruban/adapters/look"
	"caruban/contracts"
)

//go:embed pages/*.html
var pages embed.FS

// Config is the portal as data.
type Config struct {
	City      string      `yaml:"city" required:"true"`
	Key       string      `yaml:"key" required:"true" doc:"name of the secret from which PINs and form seals are made"`
	Emergency []Emergency `yaml:"emergency" doc:"numbers on top of every page of a sensitive form"`
	Forms     []Form      `yaml:"forms" required:"true"`
	Boards    []Board     `yaml:"boards" doc:"public views shown as tables"`
	Follows   []Follow    `yaml:"follows" doc:"views that a citizen reads by code and PIN"`
}

// Emergency is a number to call.
type Emergency struct {
	Number string `yaml:"number" required:"true"`
	Words  string `yaml:"words" required:"true"`
}

// Form is one request a citizen can make.
type Form struct {
	Path      string  `yaml:"path" required:"true" doc:"below the portal's root"`
	Endpoint  string  `yaml:"endpoint" required:"true" doc:"the Edge's endpoint that maps the typed fields"`
	Service   string  `yaml:"service" required:"true"`
	Title     string  `yaml:"title" required:"true"`
	Intro     string  `yaml:"intro"`
	Next      string  `yaml:"next" doc:"what happens next, shown with the code"`
	Sensitive bool    `yaml:"sensitive" doc:"neutral title, emergency numbers, quick exit"`
	Existing  bool    `yaml:"existing" doc:"asks for an existing code and PIN instead of making one"`
	Fields    []Field `yaml:"fields" required:"true"`
}

// Field is one input.
type Field struct {
	Name     string   `yaml:"name" required:"true"`
	Label    string   `yaml:"label" required:"true"`
	Kind     string   `yaml:"kind" enum:"text,date,tel,number,select,textarea,file,checkbox"`
	Hint     string   `yaml:"hint"`
	Options  []Option `yaml:"options"`
	Optional bool     `yaml:"optional"`
	Pointer  string   `yaml:"pointer" doc:"JSON Pointer of the contract field whose fault is shown here"`
}

// Option is a choice.
type Option struct {
	Value string `yaml:"value" required:"true"`
	Words string `yaml:"words" required:"true"`
}

// Board is a public view as a table.
type Board struct {
	Path  string        `yaml:"path" required:"true"`
	View  string        `yaml:"view" required:"true"`
	Title string        `yaml:"title" required:"true"`
	Stale time.Duration `yaml:"stale" doc:"age after which figures are hidden"`
	Old   time.Duration `yaml:"old" doc:"age after which figures are marked"`
}

// Follow is a view that code and PIN open.
type Follow struct {
	View     string `yaml:"view" required:"true"`
	Function string `yaml:"function" required:"true"`
	Title    string `yaml:"title" required:"true"`
}

// Shown is one view, projected for the reader.
type Shown struct {
	Key  string
	AsOf time.Time // UTC
	Data json.RawMessage
}

// Views gives read models; data comes projected for the function.
type Views interface {
	View(ctx context.Context, name, key, function string) (Shown, error)
	All(ctx context.Context, name, function string) ([]Shown, error)
}

// Attachments keeps an uploaded document sealed and gives its claim check.
type Attachments interface {
	Keep(ctx context.Context, caseRef string, document []byte) (Claim, error)
}

// Claim is the claim check of a document (Enterprise Integration Patterns).
type Claim struct {
	Ref       string `json:"ref"`
	SHA256    string `json:"sha256"`
	MediaType string `json:"media_type"`
	Size      int    `json:"size"`
}

// Portal is the configured face.
type Portal struct {
	settings    adapters.Settings
	config      Config
	views       Views
	attachments Attachments
	random      io.Reader
	pages       *template.Template

	mu    sync.Mutex
	tries map[string]*rate.Limiter
}

// New builds the portal; random gives the codes.
func New(s adapters.Settings, c Config, v Views, a Attachments, random io.Reader) (*Portal, error) {
	t, err := look.Pages(pages, "pages/*.html")
	if err != nil {
		return nil, err
	}
	return &Portal{settings: s, config: c, views: v, attachments: a, random: random, pages: t, tries: map[string]*rate.Limiter{}}, nil
}

// Factory declares the kind.
func Factory(v Views, a Attachments, random io.Reader) adapters.Factory {
	return adapters.NewFactory("portal", "the citizens' pages", Config{}, func(s adapters.Settings, c Config) (adapters.Adapter, error) {
		return New(s, c, v, a, random)
	})
}

// Close has nothing to release.
func (p *Portal) Close() error { return nil }

// Mount serves the portal at the root.
func (p *Portal) Mount(take adapters.Take) (string, http.Handler) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.home)
	mux.HandleFunc("GET /status", p.status)
	mux.HandleFunc("POST /status", p.status)
	mux.Handle("GET /look/", look.Assets())
	for _, b := range p.config.Boards {
		mux.HandleFunc("GET /"+b.Path, p.board(b))
	}
	for _, f := range p.config.Forms {
		mux.HandleFunc("GET /"+f.Path, p.ask(f))
		mux.HandleFunc("POST /"+f.Path, p.submit(f, take))
	}
	return "/", look.Secure(mux)
}

func (p *Portal) home(w http.ResponseWriter, r *http.Request) {
	p.page(w, http.StatusOK, "home", "Layanan Kota "+p.config.City, map[string]any{"Boards": p.config.Boards, "Forms": p.config.Forms})
}

func (p *Portal) board(b Board) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		shown, err := p.views.All(r.Context(), b.View, "public")
		if err != nil {
			p.wrong(w, "board", err)
			return
		}
		type entry struct {
			Shown
			Old, Stale bool
			Doc        map[string]any
		}
		now := p.settings.Now()
		entries := make([]entry, 0, len(shown))
		for _, s := range shown {
			e := entry{Shown: s, Old: b.Old > 0 && now.Sub(s.AsOf) > b.Old, Stale: b.Stale > 0 && now.Sub(s.AsOf) > b.Stale, Doc: map[string]any{}}
			if err := json.Unmarshal(s.Data, &e.Doc); err != nil {
				continue
			}
			entries = append(entries, e)
		}
		if strings.Contains(r.Header.Get("Accept"), "application/json") {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(shown) // the peer is gone: nobody is left to tell
			return
		}
		p.page(w, http.StatusOK, "board", b.Title, map[string]any{"Entries": entries, "Board": b})
	}
}

func (p *Portal) ask(f Form) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		code := ""
		if !f.Existing {
			var err error
			if code, err = p.newCode(); err != nil {
				p.wrong(w, "code", err)
				return
			}
		}
		typed := map[string]string{}
		for _, field := range f.Fields {
			typed[field.Name] = r.URL.Query().Get(field.Name)
		}
		p.form(w, http.StatusOK, f, code, typed, nil)
	}
}

func (p *Portal) form(w http.ResponseWriter, status int, f Form, code string, typed map[string]string, faults []contracts.Fault) {
	wrong, rest := map[string]string{}, []string{}
	for _, fault := range faults {
		say, placed := fault.SayID, false
		if say == "" {
			say = fault.Say
		}
		for _, field := range f.Fields {
			if field.Pointer != "" && (fault.Place == field.Pointer || strings.HasPrefix(fault.Place, field.Pointer+"/")) {
				wrong[field.Name], placed = say, true
			}
		}
		if !placed {
			rest = append(rest, say)
		}
	}
	title := f.Title
	if f.Sensitive {
		title = "Layanan Kota " + p.config.City
	}
	p.page(w, status, "form", title, map[string]any{
		"Form": f, "Code": code, "Seal": p.seal(f.Endpoint, code), "Typed": typed, "Wrong": wrong, "Rest": rest, "Emergency": p.config.Emergency,
	})
}

func (p *Portal) submit(f Form, take adapters.Take) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 40<<20)
		if err := r.ParseMultipartForm(12 << 20); err != nil && !errors.Is(err, http.ErrNotMultipart) {
			http.Error(w, "Isian atau foto terlalu besar. Satu foto paling besar 10 MB.", http.StatusRequestEntityTooLarge)
			return
		}
		code := r.PostFormValue("code")
		typed := map[string]string{}
		for _, field := range f.Fields {
			typed[field.Name] = strings.TrimSpace(r.PostFormValue(field.Name))
		}
		if f.Existing {
			if !p.allowed(r, code) || !p.opens(code, r.PostFormValue("pin")) {
				p.form(w, http.StatusUnprocessableEntity, f, code, typed, []contracts.Fault{{SayID: "Kode atau PIN tidak cocok. Periksa lagi, lalu coba sekali lagi."}})
				return
			}
			code = normal(code)
		} else if subtle.ConstantTimeCompare([]byte(r.PostFormValue("seal")), []byte(p.seal(f.Endpoint, code))) != 1 {
			http.Error(w, "Halaman ini sudah terlalu lama terbuka. Muat ulang, lalu isi lagi.", http.StatusBadRequest)
			return
		}
		fields, faults := p.fields(r, f, code, typed)
		if len(faults) > 0 {
			p.form(w, http.StatusUnprocessableEntity, f, code, typed, faults)
			return
		}
		body, err := json.Marshal(fields)
		if err != nil {
			p.wrong(w, "submit", errors.New("fields cannot be encoded"))
			return
		}
		ref := code
		if f.Existing {
			ref = code + ":" + f.Endpoint + ":" + digest(body)
		}
		a := take(r.Context(), adapters.Raw{Endpoint: f.Endpoint, Ref: ref, Body: body})
		if !a.Stored() {
			status := http.StatusUnprocessableEntity
			if a.Status == adapters.Unavailable || a.Status == adapters.Busy {
				status = http.StatusServiceUnavailable
				a.Faults = []contracts.Fault{{SayID: "Ada kesalahan di sistem kami, bukan pada isian Anda. Coba lagi sebentar lagi; isian Anda masih di halaman ini."}}
			}
			p.form(w, status, f, code, typed, a.Faults)
			return
		}
		title := "Sudah kami terima"
		p.page(w, http.StatusOK, "received", title, map[string]any{"Form": f, "Code": grouped(code), "PIN": p.pin(code), "Emergency": p.config.Emergency})
	}
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return base32.StdEncoding.EncodeToString(sum[:10])
}

// fields gathers what was typed; documents are kept sealed and leave only a claim check.
func (p *Portal) fields(r *http.Request, f Form, code string, typed map[string]string) (map[string]any, []contracts.Fault) {
	out := map[string]any{"code": code}
	var faults []contracts.Fault
	for _, field := range f.Fields {
		if field.Kind != "file" {
			if typed[field.Name] == "" && !field.Optional {
				faults = append(faults, contracts.Fault{Place: field.Pointer, SayID: field.Label + ": isi dulu bagian ini."})
			}
			if typed[field.Name] != "" {
				out[field.Name] = typed[field.Name]
			}
			continue
		}
		file, _, err := r.FormFile(field.Name)
		if err != nil {
			if !field.Optional {
				faults = append(faults, contracts.Fault{Place: field.Pointer, SayID: field.Label + ": unggah fotonya dulu."})
			}
			continue
		}
		document, err := io.ReadAll(io.LimitReader(file, 10<<20+1))
		_ = file.Close()
		if err != nil || len(document) > 10<<20 {
			faults = append(faults, contracts.Fault{Place: field.Pointer, SayID: field.Label + ": foto terlalu besar, paling besar 10 MB."})
			continue
		}
		claim, err := p.attachments.Keep(r.Context(), code, document)
		if err != nil {
			faults = append(faults, contracts.Fault{Place: field.Pointer, SayID: field.Label + ": berkas harus foto JPEG, PNG, atau PDF."})
			continue
		}
		out[field.Name] = claim
	}
	return out, faults
}

func (p *Portal) status(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		p.page(w, http.StatusOK, "status", "Lihat permohonan", map[string]any{"Code": r.URL.Query().Get("code")})
		return
	}
	code := r.PostFormValue("code")
	// A wrong code and a wrong PIN get the same answer, so that codes cannot be found out.
	no := func() {
		p.page(w, http.StatusUnprocessableEntity, "status", "Lihat permohonan", map[string]any{"Code": code, "No": true})
	}
	if !p.allowed(r, code) || !p.opens(code, r.PostFormValue("pin")) {
		no()
		return
	}
	for _, f := range p.config.Follows {
		shown, err := p.views.View(r.Context(), f.View, normal(code), f.Function)
		if err != nil {
			continue
		}
		if strings.Contains(r.Header.Get("Accept"), "application/json") {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(shown) // the peer is gone: nobody is left to tell
			return
		}
		doc := map[string]any{}
		if err := json.Unmarshal(shown.Data, &doc); err != nil {
			break
		}
		p.page(w, http.StatusOK, "followed", f.Title, map[string]any{"Doc": doc, "Shown": shown, "Code": grouped(normal(code))})
		return
	}
	p.page(w, http.StatusOK, "followed", "Sedang diproses", map[string]any{"Code": grouped(normal(code)), "Waiting": true})
}

// crockford leaves out i, l, o and u (DESIGN §9).
const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// newCode is nine random characters and one check character.
func (p *Portal) newCode() (string, error) {
	b := make([]byte, 9)
	if _, err := io.ReadFull(p.random, b); err != nil {
		return "", fmt.Errorf("read randomness: %w", err)
	}
	for i := range b {
		b[i] = crockford[b[i]&31]
	}
	return string(b) + string(check(string(b))), nil
}

func check(code string) byte {
	sum := 0
	for i, c := range []byte(code) {
		sum += (i + 1) * (strings.IndexByte(crockford, c) + 1)
	}
	return crockford[sum%32]
}

// normal reads what a person typed: any case, spaces, dashes, o for 0, i and l for 1.
func normal(code string) string {
	return strings.NewReplacer(" ", "", "-", "", "O", "0", "I", "1", "L", "1").Replace(strings.ToUpper(code))
}

func grouped(code string) string {
	if len(code) != 10 {
		return code
	}
	return code[:5] + "-" + code[5:]
}

// pin comes from the code and the portal's key, so that nothing needs to be stored.
func (p *Portal) pin(code string) string {
	return fmt.Sprintf("%06d", binary.BigEndian.Uint64(p.mac("pin", code))%1_000_000)
}

func (p *Portal) seal(endpoint, code string) string {
	return base32.StdEncoding.EncodeToString(p.mac("form:"+endpoint, code)[:10])
}

func (p *Portal) mac(purpose, code string) []byte {
	m := hmac.New(sha256.New, []byte(p.settings.Secrets[p.config.Key].Reveal()))
	m.Write([]byte(purpose + "\x00" + code))
	return m.Sum(nil)
}

func (p *Portal) opens(code, pin string) bool {
	code = normal(code)
	right := subtle.ConstantTimeCompare([]byte(strings.TrimSpace(pin)), []byte(p.pin(code))) == 1
	return right && len(code) == 10 && check(code[:9]) == code[9]
}

// allowed limits tries per code and per address: six at once, then one in ten seconds.
func (p *Portal) allowed(r *http.Request, code string) bool {
	host, _, _ := strings.Cut(r.RemoteAddr, ":")
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.tries) > 100_000 {
		p.tries = map[string]*rate.Limiter{} // bounded memory matters more than one guesser's history
	}
	ok := true
	for key, burst := range map[string]int{"code:" + normal(code): 6, "host:" + host: 60} {
		if p.tries[key] == nil {
			p.tries[key] = rate.NewLimiter(rate.Every(10*time.Second), burst)
		}
		ok = p.tries[key].AllowN(p.settings.Now(), 1) && ok
	}
	return ok
}

func (p *Portal) page(w http.ResponseWriter, status int, name, title string, data map[string]any) {
	data["Title"], data["Place"], data["Home"] = title, "Kota "+p.config.City, "/"
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	if err := p.pages.ExecuteTemplate(w, name, data); err != nil {
		p.settings.Log.Error("page", "page", name)
	}
}

func (p *Portal) wrong(w http.ResponseWriter, act string, err error) {
	p.settings.Log.Error("portal", "act", act, "error", err)
	http.Error(w, "Ada kesalahan di sistem kami, bukan pada isian Anda.", http.StatusInternalServerError)
}
