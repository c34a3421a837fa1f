package rest

import (
	"compress/gzip"
	"embed"
	"io"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"
	ginswagger "github.com/swaggo/gin-swagger"
	"golang.org/x/net/webdav"
)

// The OpenAPI documents, made from the comments of the handlers (make
// generate): 2.0 for the page, 3.0 for programs.
//
//go:embed docs/swagger.json
var document []byte

//go:embed docs/openapi.json
var document3 []byte

// pageScript starts the page.
//
//go:embed docs/page.js
var pageScript []byte

const (
	docsHome     = docsPath + "/index.html"
	jsonDocument = "application/json; charset=utf-8"
)

// pageAssets is what the page loads of Swagger UI, packed.
//
//go:embed docs/page/*.gz
var pageAssets embed.FS

var assetKinds = map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".png": "image/png"}

// docsHandler serves the OpenAPI page. gin-swagger renders the page; the
// documents and the assets come straight from what is compiled in, without a
// copy in memory (gin-swagger's own asset handler keeps all of them in one).
func docsHandler() gin.HandlerFunc {
	page := ginswagger.CustomWrapHandler(&ginswagger.Config{Title: "Oakestra API"},
		&webdav.Handler{}) // it wants to set a prefix there; nothing is served by it
	return func(c *gin.Context) {
		switch name := path.Base(c.Param("any")); {
		case name == "." || name == "/" || name == "docs":
			c.Redirect(http.StatusFound, docsHome)
		case name == "doc.json":
			c.Data(http.StatusOK, jsonDocument, document)
		case name == "swagger-initializer.js":
			c.Data(http.StatusOK, "text/javascript; charset=utf-8", pageScript)
		case name == "index.html" || name == "index.css":
			c.Header("Content-Security-Policy", "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'")
			page(c)
		default:
			serveAsset(c, name)
		}
	}
}

func serveDocument3(c *gin.Context) { c.Data(http.StatusOK, jsonDocument, document3) }

// serveAsset sends one compiled-in file, packed to whoever can unpack it.
func serveAsset(c *gin.Context, name string) {
	f, err := pageAssets.Open("docs/page/" + name + ".gz")
	if err != nil {
		http.NotFound(c.Writer, c.Request)
		return
	}
	defer closeAsset(f)
	h := c.Writer.Header()
	h.Set("Content-Type", assetKinds[path.Ext(name)])
	h.Set("Cache-Control", "public, max-age=86400")
	h.Add("Vary", "Accept-Encoding")
	var content io.Reader = f
	if takesGzip(c.Request) {
		h.Set("Content-Encoding", "gzip")
	} else if content, err = gzip.NewReader(f); err != nil {
		http.NotFound(c.Writer, c.Request) // not one of ours
		return
	}
	_, _ = io.Copy(c.Writer, content) // the browser went away
}

func takesGzip(r *http.Request) bool {
	for part := range strings.SplitSeq(strings.Join(r.Header.Values("Accept-Encoding"), ","), ",") {
		name, quality, _ := strings.Cut(part, ";")
		if strings.TrimSpace(name) == "gzip" {
			q, err := strconv.ParseFloat(strings.TrimPrefix(strings.TrimSpace(quality), "q="), 64)
			return err != nil || q > 0
		}
	}
	return false
}

func closeAsset(f fs.File) { _ = f.Close() } // an embedded file cannot fail to close
