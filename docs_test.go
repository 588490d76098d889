package ginsse_test

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
)

// Every Go block of README.md and docs/*.md compiles against this tree and passes
// go vet:
//
//   - A block that begins with a package clause is compiled as it stands.
//   - Any other block of declarations is a file, and a block of statements the
//     body of a function, of a package that has docsImports and docsVariables.
//     A block with imports of its own gets no others. What a block declares
//     hides the variable of that name, and need not be used.
//   - What else a block needs, a comment before it declares, in Go:
//     <!-- given: var post struct{ AuthorID string } -->
//   - A block may import any package of this repository's modules, or of one that they
//     require.
//   - A block that cannot be compiled says so before it, with the reason:
//     <!-- not compiled: ... -->
func TestDocsBlocksCompile(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	if readme := filepath.Join(root, "README.md"); docsExists(readme) {
		files = append(files, readme)
	}
	var blocks []docsBlock
	for _, file := range files {
		found, err := docsBlocks(file)
		if err != nil {
			t.Error(err)
		}
		blocks = append(blocks, found...)
	}
	if len(blocks) == 0 {
		t.Fatal("there are no Go blocks; is the test in the module's root?")
	}
	dir := t.TempDir()
	// Shows that a block that does not compile would be found.
	canary := docsBlock{file: filepath.Join(dir, "canary.md"), line: 7, text: "registry.NoSuchMethod()\n"}
	for i, b := range append(blocks, canary) {
		if err := b.write(filepath.Join(dir, fmt.Sprintf("block%03d", i))); err != nil {
			t.Error(err)
		}
	}
	canaryFound := false
	for _, line := range docsVet(t, root, dir) {
		switch {
		case strings.Contains(line, "canary.md:7:"):
			canaryFound = true
		case line != "" && !strings.HasPrefix(line, "# ") && !strings.HasPrefix(line, "go: downloading "): // "# " names a package
			t.Error(line)
		}
	}
	if !canaryFound {
		t.Error("go vet did not report the block that does not compile")
	}
}

// Every relative link of a document leads to a file that exists and, if it has a
// fragment, to a heading of it.
func TestDocsLinksLeadSomewhere(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	top, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	links := 0
	for _, file := range append(files, top...) {
		for _, found := range docsLink.FindAllStringSubmatch(docsRead(t, file), -1) {
			target, fragment, _ := strings.Cut(found[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			links++
			if target = filepath.Join(filepath.Dir(file), target); strings.HasPrefix(found[1], "#") {
				target = file
			}
			switch {
			case !docsExists(target):
				t.Errorf("%s: there is no file for the link %s", file, found[1])
			case fragment != "" && !slices.Contains(docsFragments(docsRead(t, target)), fragment):
				t.Errorf("%s: there is no heading for the link %s", file, found[1])
			}
		}
	}
	if links == 0 {
		t.Error("found no links")
	}
}

var (
	docsLink    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	docsHeading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	docsDropped = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// docsFragments returns what links to the headings of a document end in.
func docsFragments(content string) (fragments []string) {
	for _, heading := range docsHeading.FindAllStringSubmatch(content, -1) {
		text := docsDropped.ReplaceAllString(strings.ToLower(heading[1]), "")
		fragments = append(fragments, strings.ReplaceAll(text, " ", "-"))
	}
	return fragments
}

// The guide names every setting of a stream, a registry and a log in memory.
func TestDocsNameEverySetting(t *testing.T) {
	t.Parallel()
	_, table, found := strings.Cut(docsRead(t, "docs/guide.md"), "\n## Settings and defaults\n")
	if !found {
		t.Fatal("docs/guide.md has no settings")
	}
	for _, settings := range []any{ginsse.StreamConfig{}, ginsse.RegistryConfig{}, ginsse.RunConfig{}, eventlog.MemoryLogConfig{}} {
		for _, field := range reflect.VisibleFields(reflect.TypeOf(settings)) {
			if !regexp.MustCompile("`([A-Za-z]+\\.)?" + field.Name + "`").MatchString(table) {
				t.Errorf("%T.%s is not among the settings in docs/guide.md", settings, field.Name)
			}
		}
	}
}

// The README's commands are those that CI runs: it has the tests' command as a line of
// .ci/run has it, and the application that it runs is there.
func TestDocsCommandsAreThoseOfCI(t *testing.T) {
	t.Parallel()
	readme := docsRead(t, "README.md")
	for _, command := range []string{"\ngo run ./examples/gin-app ", "\ngo test work "} {
		if !strings.Contains(readme, command) {
			t.Errorf("README.md has no line that begins with %q", strings.TrimSpace(command))
		}
	}
	if !regexp.MustCompile(`(?m) go test work$`).MatchString(docsRead(t, ".ci/run")) {
		t.Error(".ci/run does not run the README's tests")
	}
	if !docsExists("examples/gin-app/main.go") {
		t.Error("the README's example is not there")
	}
}

// ARCHITECTURE.md has every file of the package in its table.
func TestDocsNameEveryFile(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	architecture := docsRead(t, "ARCHITECTURE.md")
	for _, file := range files {
		if !strings.HasSuffix(file, "_test.go") && !strings.Contains(architecture, "`"+file+"`") {
			t.Errorf("%s is not in ARCHITECTURE.md", file)
		}
	}
}

func docsRead(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// docsImports are the packages that a block may use without importing them, each
// with a line that does.
var docsImports = [][2]string{
	{"bytes", "var _ *bytes.Buffer"},
	{"context", "var _ context.Context"},
	{"crypto/rand", "var _ = rand.Text"},
	{"database/sql", "var _ *sql.DB"},
	{"encoding/json", "var _ = json.Marshal"},
	{"errors", "var _ = errors.New"},
	{"fmt", "var _ = fmt.Sprint"},
	{"io", "var _ io.Reader"},
	{"iter", "var _ iter.Seq[int]"},
	{"log", "var _ = log.Print"},
	{"log/slog", "var _ *slog.Logger"},
	{"net/http", "var _ http.Handler"},
	{"net/http/httptest", "var _ *httptest.Server"},
	{"os", "var _ = os.Args"},
	{"os/signal", "var _ = signal.NotifyContext"},
	{"slices", "var _ = slices.Contains[[]int]"},
	{"strings", "var _ = strings.Cut"},
	{"sync", "var _ *sync.Mutex"},
	{"syscall", "var _ = syscall.SIGTERM"},
	{"testing", "var _ *testing.T"},
	{"testing/synctest", "var _ = synctest.Test"},
	{"time", "var _ time.Time"},

	{"github.com/gin-gonic/gin", "var _ *gin.Context"},
	{"github.com/golang-jwt/jwt/v5", "var _ jwt.Claims"},
	{"github.com/prometheus/client_golang/prometheus", "var _ prometheus.Collector"},
	{"github.com/redis/go-redis/v9", "var _ *redis.Client"},

	{"github.com/ginsse/ginsse", "var _ *ginsse.Stream"},
	{"github.com/ginsse/ginsse/browser", "var _ = browser.Handler"},
	{"github.com/ginsse/ginsse/client", "var _ *client.Client"},
	{"github.com/ginsse/ginsse/debug", "var _ *debug.Page"},
	{"github.com/ginsse/ginsse/promginsse", "var _ *promginsse.Metrics"},
	{"github.com/ginsse/ginsse/redislog", "var _ *redislog.Log"},
	{"github.com/ginsse/ginsse/sqllog", "var _ *sqllog.Log"},
	{"github.com/ginsse/ginsse/sqllog/pgxlog", "var _ = pgxlog.Listen"},
	{"github.com/ginsse/ginsse/ssetest", "var _ *ssetest.Stream"},
}

// docsVariables are the variables that a block may use without declaring them.
var docsVariables = [][2]string{
	{"auth", "*ginsse.Auth"},
	{"c", "*gin.Context"},
	{"ctx", "context.Context"},
	{"event", "ginsse.Event"},
	{"logger", "*slog.Logger"},
	{"r", "*gin.Engine"},
	{"registry", "*ginsse.Registry"},
	{"secret", "[]byte"},
	{"server", "*http.Server"},
	{"stream", "*ginsse.Stream"},
	{"user", "string"}, // a user ID
}

// docsBlock is one Go block of a document.
type docsBlock struct {
	file  string // absolute
	line  int    // of the first line of text
	text  string
	given string // Go declarations
}

var (
	docsGiven       = regexp.MustCompile(`^given:\s`)
	docsNotCompiled = regexp.MustCompile(`^not compiled: \w`)
)

// docsBlocks returns the blocks of a document that are to be compiled.
func docsBlocks(file string) ([]docsBlock, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var blocks []docsBlock
	var comment string // the HTML comment that ended last, if nothing follows it yet
	lines := strings.Split(string(content), "\n")
	for i := 0; i < len(lines); i++ {
		line := strings.TrimSpace(lines[i])
		switch {
		case strings.HasPrefix(line, "<!--"):
			start := i
			for i < len(lines)-1 && !strings.Contains(lines[i], "-->") {
				i++
			}
			comment, _, _ = strings.Cut(strings.Join(lines[start:i+1], "\n"), "-->")
			comment = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(comment), "<!--"))
		case strings.HasPrefix(line, "```"):
			start := i + 1
			for i++; i < len(lines) && strings.TrimSpace(lines[i]) != "```"; i++ {
			}
			if i == len(lines) {
				return nil, fmt.Errorf("%s:%d: the block does not end", file, start)
			}
			if line == "```go" && !docsNotCompiled.MatchString(comment) {
				b := docsBlock{file: file, line: start + 1, text: strings.Join(lines[start:i], "\n") + "\n"}
				if docsGiven.MatchString(comment) {
					b.given = strings.TrimPrefix(comment, "given:")
				}
				blocks = append(blocks, b)
			}
			comment = ""
		case line != "":
			comment = ""
		}
	}
	return blocks, nil
}

// write makes a package of the block. Errors in it are then reported at the
// block's place in the document.
func (b docsBlock) write(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	position := fmt.Sprintf("//line %s:%d\n", b.file, b.line)
	block := filepath.Join(dir, "block.go")
	if strings.HasPrefix(b.text, "package ") {
		return os.WriteFile(block, []byte(position+b.text), 0o600)
	}
	source := "package block\n" + position + b.text
	file, err := docsParse(source)
	switch {
	case err != nil:
		if source, err = docsBody(position + b.text); err != nil {
			return err
		}
		source = "package block\n" + docsImportLines() + source
	case len(file.Imports) == 0:
		source = "package block\n" + docsImportLines() + position + b.text
	}
	declared, err := docsDeclared(source, "package block\n"+b.given)
	if err != nil {
		return fmt.Errorf("%s:%d: %w", b.file, b.line, err)
	}
	var others strings.Builder
	others.WriteString("package block\n" + docsImportLines() + b.given + "\n")
	for _, v := range docsVariables {
		if !slices.Contains(declared, v[0]) {
			fmt.Fprintf(&others, "var %s %s\n", v[0], v[1])
		}
	}
	return errors.Join(
		os.WriteFile(block, []byte(source), 0o600),
		os.WriteFile(filepath.Join(dir, "given.go"), []byte(others.String()), 0o600),
	)
}

// docsBody makes a function of statements, and has it use each variable that they
// declare, on the line where they do.
func docsBody(statements string) (string, error) {
	const head = "package block\n"
	body := "func _() {\n" + statements + "}\n"
	file, err := docsParse(head + body)
	if err != nil {
		return "", err
	}
	function, ok := file.Decls[0].(*ast.FuncDecl)
	if !ok || len(file.Decls) != 1 {
		return "", fmt.Errorf("the block closes a brace that it did not open:\n%s", statements)
	}
	for _, statement := range slices.Backward(function.Body.List) {
		var uses strings.Builder
		for _, name := range docsVariablesOf(statement) {
			uses.WriteString("; _ = " + name)
		}
		at := int(statement.End()-file.FileStart) - len(head)
		body = body[:at] + uses.String() + body[at:]
	}
	return body, nil
}

// docsVariablesOf returns the names of the variables that a statement declares.
func docsVariablesOf(statement ast.Stmt) (names []string) {
	add := func(e ast.Expr) {
		if name, ok := e.(*ast.Ident); ok && name.Name != "_" {
			names = append(names, name.Name)
		}
	}
	switch s := statement.(type) {
	case *ast.AssignStmt:
		if s.Tok == token.DEFINE {
			for _, e := range s.Lhs {
				add(e)
			}
		}
	case *ast.DeclStmt:
		if d, ok := s.Decl.(*ast.GenDecl); ok && d.Tok == token.VAR {
			for _, spec := range d.Specs {
				if v, ok := spec.(*ast.ValueSpec); ok {
					for _, name := range v.Names {
						add(name)
					}
				}
			}
		}
	}
	return names
}

// docsDeclared returns the names that files declare at their top.
func docsDeclared(sources ...string) (names []string, err error) {
	for _, source := range sources {
		file, err := docsParse(source)
		if err != nil {
			return nil, err
		}
		for _, decl := range file.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil {
					names = append(names, d.Name.Name)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch s := spec.(type) {
					case *ast.TypeSpec:
						names = append(names, s.Name.Name)
					case *ast.ValueSpec:
						for _, name := range s.Names {
							names = append(names, name.Name)
						}
					}
				}
			}
		}
	}
	return names, nil
}

func docsParse(source string) (*ast.File, error) {
	return parser.ParseFile(token.NewFileSet(), "", source, parser.SkipObjectResolution)
}

func docsImportLines() string {
	var lines strings.Builder
	for _, i := range docsImports {
		fmt.Fprintf(&lines, "import %q\n", i[0])
	}
	for _, i := range docsImports {
		lines.WriteString(i[1] + "\n")
	}
	return lines.String()
}

// docsVet runs go vet once for all blocks in dir and returns what it printed. The
// blocks are a module of a workspace that has all modules of this repository, so they
// may import whatever one of those requires, at the versions that built this test.
func docsVet(t *testing.T, root, dir string) []string {
	t.Helper()
	work := docsRead(t, filepath.Join(root, "go.work"))
	sums := docsRead(t, filepath.Join(root, "go.work.sum"))
	modules := docsModule.FindAllStringSubmatch(work, -1)
	if len(modules) < 2 {
		t.Fatal("go.work names fewer than two modules")
	}
	var use strings.Builder
	for _, module := range modules {
		fmt.Fprintf(&use, "use %q\n", filepath.Join(root, module[1]))
	}
	version := docsVersion.FindString(work)
	err := errors.Join(
		os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module docs.invalid\n"+version), 0o600),
		os.WriteFile(filepath.Join(dir, "go.work"), []byte(version+"use .\n"+use.String()), 0o600),
		os.WriteFile(filepath.Join(dir, "go.work.sum"), []byte(sums), 0o600),
	)
	if err != nil {
		t.Fatal(err)
	}
	vet := exec.CommandContext(t.Context(), "go", "vet", "./...")
	vet.Dir = dir
	vet.Env = append(os.Environ(), "GOWORK="+filepath.Join(dir, "go.work"), "GOFLAGS=", "GOTOOLCHAIN=local")
	output, err := vet.CombinedOutput()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		t.Fatal(err)
	}
	return strings.Split(string(output), "\n")
}

var (
	docsVersion = regexp.MustCompile(`(?m)^go .*\n`)
	docsModule  = regexp.MustCompile(`(?m)^\t(\.\S*)$`) // the folder of each module of go.work
)

func docsExists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}
