import Foundation
import Git
import Testing

/// git http-backend behind TLS, and servers that mean no good.
struct HTTPSRepositoryTests {
    private func certificate(_ shop: Workshop) async throws {
        try await shop.run(
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "30",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
            "-keyout",
            "key.pem",
            "-out",
            "cert.pem"
        )
    }

    private func serve(
        _ shop: Workshop,
        _ more: String...,
        tls: Bool = true,
        _ body: (_ url: String, _ port: Int) async throws -> Void
    ) async throws {
        if tls { try await certificate(shop) }
        let secure = tls ? ["--tls", "\(shop.folder)/cert.pem", "\(shop.folder)/key.pem"] : []
        try await withServer([gitServer, "--root", shop.folder, "--log", "\(shop.folder)/log"] + secure + more) { port in
            try await body("\(tls ? "https" : "http")://localhost:\(port)/specs.git", port)
        }
    }

    /// What the server was asked since the last time.
    private func log(_ shop: Workshop) throws -> [String] {
        let path = "\(shop.folder)/log"
        let text = (try? String(contentsOfFile: path, encoding: .utf8)) ?? ""
        try Data().write(to: URL(fileURLWithPath: path))
        return text.split(separator: "\n").map(String.init)
    }

    private static let advertisement = "GET /specs.git/info/refs?service=git-upload-pack anonymous"
    private static let fetch = "POST /specs.git/git-upload-pack anonymous"

    private func read(
        _ shop: Workshop,
        _ url: String,
        revision: String? = nil,
        unless known: String? = nil,
        expecting: String? = nil,
        signers: String? = nil,
        last: String? = nil,
        into: String? = nil,
        _ change: (inout GitOptions) -> Void = { _ in }
    ) async throws(GitFailure) -> GitReading {
        try await shop.read(GitLocation(url: url, revision: revision), unless: known, expecting: expecting, signers: signers, last: last, into: into)
        {
            $0.authorityFile = "\(shop.folder)/cert.pem"
            change(&$0)
        }
    }

    @Test func anUnchangedRepositoryCostsOneQuestion() async throws {
        let shop = try Workshop()
        let first = try await shop.repository()
        try await shop.run("git", "-C", "specs", "tag", "-a", "v1", "-m", "v1")
        try await shop.run("git", "-C", "specs", "push", "-q", "origin", "v1")
        var seen = ""
        try await serve(shop) { url, _ in
            #expect(try await read(shop, url).tree?.texts == ["state/a.yaml=a"])
            // Where only the newest commit is fetched, it is asked first where history ends.
            let asked = try log(shop)
            #expect(asked == [Self.advertisement, Self.fetch] || asked == [Self.advertisement, Self.fetch, Self.fetch])
            #expect(try await read(shop, url, unless: first).unchanged == first)
            #expect(try await read(shop, url, revision: "main").tree?.commit == first)
            #expect(try await read(shop, url, revision: "v1", unless: first).unchanged == first)
            #expect(try log(shop) == Array(repeating: Self.advertisement, count: 3))
            // A commit that is here already can't have become another.
            #expect(try await read(shop, url, revision: first).tree?.commit == first)
            #expect(try log(shop) == [])
            let mode = try FileManager.default.attributesOfItem(atPath: "\(shop.folder)/data/git")[.posixPermissions] as? Int
            #expect(mode == 0o700)

            let second = try await shop.push("specs", ["state/a.yaml": "b"])
            #expect(try await read(shop, url, unless: first, last: first).tree?.texts == ["state/a.yaml=b"])
            #expect(try log(shop) == [Self.advertisement, Self.fetch])
            #expect(try await read(shop, url, revision: "v1").tree?.commit == first)
            // A server that is away for a while costs nothing that is kept. Nobody listens any more once this test's server has ended.
            seen = url
            // Without a place to keep anything.
            #expect(try await read(shop, url) { $0.cacheDirectory = nil }.tree?.commit == second)
        }
        let kept = "find data/git -name '*.pack' | sort"
        let before = try await shop.run("sh", "-c", kept)
        let gone = await failure { () async throws(GitFailure) in try await read(shop, seen, unless: first) }
        #expect(gone.is(.unreachable), "\(String(describing: gone))")
        #expect(try await shop.run("sh", "-c", kept) == before && !before.isEmpty)
    }

    @Test func findsCommitsThatNoBranchEndsIn() async throws {
        let shop = try Workshop()
        let first = try await shop.repository()
        try await shop.push("specs", ["state/a.yaml": "b"])
        try await serve(shop) { url, _ in
            let found = try await read(shop, url, revision: first).tree
            #expect(found?.commit == first)
            let commit = String(repeating: "1", count: 40)
            let missing = await failure { () async throws(GitFailure) in try await read(shop, url, revision: commit) }
            #expect(missing?.cause == .absent && missing?.message.contains("no commit \(commit)") == true)
            let name = await failure { () async throws(GitFailure) in try await read(shop, url, revision: "nope") }
            #expect(name?.fix == "There are: main.")
        }
    }

    /// A fork's commits are in references of the forge's own.
    @Test func joinsWhatAForgeKeepsOfAFork() async throws {
        let shop = try Workshop()
        let start = try await shop.repository("specs", ["state/a.yaml": "a", "state/b.yaml": "b"])
        try await shop.run("git", "-C", "specs", "checkout", "-q", "--detach")
        try shop.write("specs/state/a.yaml", "theirs")
        try await shop.run("git", "-C", "specs", "commit", "-q", "-a", "-m", "fork")
        try await shop.run("git", "-C", "specs", "push", "-q", "origin", "HEAD:refs/pull/7/head")
        let head = try await shop.run("git", "-C", "specs", "rev-parse", "HEAD")
        try await shop.run("git", "-C", "specs", "checkout", "-q", "main")
        let base = try await shop.push("specs", ["state/b.yaml": "ours"])
        try await serve(shop) { url, _ in
            for _ in 0..<2 {
                let tree = try await read(shop, url, revision: head, into: base).tree
                #expect(tree?.commit == head && tree?.join == .merged && tree?.texts == ["state/a.yaml=theirs", "state/b.yaml=ours"])
            }
            // What is here already is not asked for.
            #expect(try log(shop).count { $0 == Self.fetch } <= 2)
            #expect(try await read(shop, url, revision: head, into: start).tree?.join == .contained)
            #expect(try log(shop) == [])
        }
    }

    /// What is in force stays there while what came after it is refused.
    @Test func joinsWithACommitThatNoBranchEndsIn() async throws {
        let shop = try Workshop()
        try await shop.repository("specs", ["state/a.yaml": "a", "state/b.yaml": "b"])
        try await shop.run("git", "-C", "specs", "checkout", "-q", "-b", "feature")
        try shop.write("specs/state/a.yaml", "theirs")
        try await shop.run("git", "-C", "specs", "commit", "-q", "-a", "-m", "feature")
        try await shop.run("git", "-C", "specs", "push", "-q", "origin", "feature")
        let head = try await shop.run("git", "-C", "specs", "rev-parse", "HEAD")
        try await shop.run("git", "-C", "specs", "checkout", "-q", "main")
        let base = try await shop.push("specs", ["state/b.yaml": "ours"])
        try await shop.push("specs", ["state/b.yaml": "refused"])
        try await serve(shop) { url, _ in
            let tree = try await read(shop, url, revision: head, into: base).tree
            #expect(tree?.join == .merged && tree?.texts == ["state/a.yaml=theirs", "state/b.yaml=ours"], "\(String(describing: tree))")
        }
    }

    @Test func followsWhatIsPushed() async throws {
        let shop = try Workshop()
        let first = try await shop.repository()
        try await serve(shop) { url, _ in
            _ = try await read(shop, url)
            let second = try await shop.push("specs", ["state/a.yaml": "2"])
            let third = try await shop.push("specs", ["state/a.yaml": "3"])
            #expect(try await read(shop, url, unless: first, expecting: String(repeating: "1", count: 40), last: first).unchanged == third)
            #expect(try await read(shop, url, unless: first, expecting: second, last: first).tree?.commit == third)
            try await shop.run("git", "-C", "specs", "reset", "-q", "--hard", first)
            let other = try await shop.push("specs", ["state/a.yaml": "other"])
            let forced = try await read(shop, url, unless: third, last: third).tree
            #expect(forced?.commit == other && forced?.notes == ["force-pushed: \(third.prefix(12)) is no longer in main; \(other.prefix(12)) is"])
            // The same with nothing kept, so that the old one is unknown here.
            let anew = try await read(shop, url, unless: third, last: third) { $0.cacheDirectory = nil }.tree
            #expect(anew?.notes == forced?.notes)
        }
    }

    @Test func aDamagedCacheIsFetchedAnew() async throws {
        let shop = try Workshop()
        let first = try await shop.repository()
        try await serve(shop) { url, _ in
            _ = try await read(shop, url)
            let data = "\(shop.folder)/data/git"
            let cache = try #require(try FileManager.default.contentsOfDirectory(atPath: data).first { !$0.hasSuffix(".lock") })
            let packs = "\(data)/\(cache)/objects/pack"
            for damage in [
                "truncate -s 40 \(packs)/*.pack", "rm \(packs)/*.pack", "rm \(data)/\(cache)/HEAD",
                "rm -r \(data)/\(cache); echo x > \(data)/\(cache)",
            ] {
                try await shop.run("sh", "-c", damage)
                #expect(try await read(shop, url).tree?.texts == ["state/a.yaml=a"], "\(damage)")
                #expect(try await read(shop, url, unless: first).unchanged == first)
            }
            // What a killed fetch leaves is swept up.
            try await shop.run("sh", "-c", "echo x > \(packs)/pack_git2_x; echo x > \(packs)/tmp_pack_x")
            _ = try await read(shop, url)
            #expect(try FileManager.default.contentsOfDirectory(atPath: packs).allSatisfy { $0.hasPrefix("pack-") })
        }
    }

    @Test func twoReadsWaitForEachOther() async throws {
        let shop = try Workshop()
        let commit = try await shop.repository()
        try await serve(shop) { url, _ in
            await withTaskGroup(of: String?.self) { group in
                for _ in 0..<6 { group.addTask { (try? await read(shop, url))?.tree?.commit } }
                for await found in group { #expect(found == commit) }
            }
        }
    }

    @Test func logsInWithWhatThereIs() async throws {
        let shop = try Workshop()
        let commit = try await shop.repository()
        try await serve(shop, "--login", "ann:s3cret") { url, port in
            func attempt(_ url: String = url, _ change: (inout GitOptions) -> Void = { _ in }) async throws(GitFailure) -> String? {
                try await read(shop, url) {
                    $0.cacheDirectory = nil
                    change(&$0)
                }.tree?.commit
            }
            func refused(_ change: (inout GitOptions) -> Void = { _ in }) async -> GitFailure? {
                await failure { () async throws(GitFailure) in
                    try await read(shop, url) {
                        $0.cacheDirectory = nil
                        change(&$0)
                    }
                }
            }
            let none = await refused()
            #expect(
                none?.cause == .denied && none?.message.contains("wants a login, and there is none") == true
                    && none?.fix.contains("--git-token-file") == true
            )

            #expect(try await attempt("https://ann:s3cret@localhost:\(port)/specs.git") == commit)
            try shop.write("token", "s3cret\n")
            #expect(try await attempt("https://ann@localhost:\(port)/specs.git") { $0.tokenFile = "\(shop.folder)/token" } == commit)
            let wrong = await refused { $0.tokenFile = "\(shop.folder)/token" }
            #expect(wrong?.cause == .denied && wrong?.message.contains("does not take the login of \(shop.folder)/token") == true)
            #expect(wrong?.message.contains("s3cret") == false)
            let gone = await refused { $0.tokenFile = "\(shop.folder)/nowhere" }
            #expect(gone?.message.contains("can't be read") == true)

            // The helper is asked only once the server has refused what .netrc has.
            try shop.write("home/.netrc", "machine localhost login ann password wrong\n")
            try await shop.run("git", "config", "--global", "credential.helper", "!printf 'username=ann\\npassword=s3cret\\n' #")
            #expect(try await attempt() == commit)
            try shop.write("home/.netrc", "machine localhost login ann password s3cret\n")
            try await shop.run("git", "config", "--global", "credential.helper", "!echo called >> \(shop.folder)/called #")
            #expect(try await attempt() == commit)
            #expect(!FileManager.default.fileExists(atPath: "\(shop.folder)/called"))
        }
    }

    @Test func aHelperThatHangsEndsWithTheRead() async throws {
        let shop = try Workshop()
        try await shop.repository()
        try await serve(shop, "--login", "ann:s3cret") { url, _ in
            let helper = "!sh -c \"echo \\$\\$ > \(shop.folder)/pid; exec sleep 600\" #"
            try await shop.run("git", "config", "--global", "credential.helper", helper)
            let failure = await failure { () async throws(GitFailure) in try await read(shop, url) { $0.timeout = .seconds(5) } }
            #expect(failure.is(.timedOut), "\(String(describing: failure))")
            let process = try #require(
                Int32(String(contentsOfFile: "\(shop.folder)/pid", encoding: .utf8).trimmingCharacters(in: .whitespacesAndNewlines))
            )
            // Killed at once; only that it is reaped can take its time.
            let isGone = { (try? String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8).contains(") Z ")) ?? true }
            for _ in 0..<200 where !isGone() { try await Task.sleep(for: .milliseconds(50)) }
            #expect(isGone())
        }
    }

    @Test func aReadThatIsCancelledEnds() async throws {
        let shop = try Workshop()
        try await shop.repository()
        try await serve(shop, "--behave", "silent") { url, _ in
            let reading = Task { await failure { () async throws(GitFailure) in try await read(shop, url) { $0.timeout = .seconds(600) } } }
            while try !log(shop).contains("connection") { try await Task.sleep(for: .milliseconds(20)) }
            reading.cancel()
            let ending = await reading.value
            #expect(ending.is(.timedOut, "was broken off (connecting to localhost"), "\(String(describing: ending))")
        }
    }

    @Test func onlyTrustedCertificatesCount() async throws {
        let shop = try Workshop()
        try await shop.repository()
        try await serve(shop) { url, port in
            let unknown = await failure { () async throws(GitFailure) in try await read(shop, url) { $0.authorityFile = nil } }
            #expect(unknown?.cause == .denied && unknown?.fix.contains("--git-ca-file") == true, "\(String(describing: unknown))")
            let name = await failure { () async throws(GitFailure) in try await read(shop, "https://127.0.0.1:\(port)/specs.git") }
            #expect(name?.cause == .denied, "\(String(describing: name))")
            let file = await failure { () async throws(GitFailure) in try await read(shop, url) { $0.authorityFile = "\(shop.folder)/key.pem" } }
            #expect(file?.message.contains("key.pem") == true, "\(String(describing: file))")
            let asked = try log(shop)
            #expect(asked == [])
        }
    }

    @Test func whatIsNotProtectedNeedsSignatures() async throws {
        let shop = try Workshop()
        try await shop.repository()
        for scheme in ["http", "git"] {
            let failure = await failure { () async throws(GitFailure) in try await shop.read(GitLocation(url: "\(scheme)://localhost:1/specs.git")) }
            #expect(failure?.cause == .refused && failure?.fix.contains("--verify-signers") == true)
        }
        let key = try await shop.key("ann")
        try shop.write("signers", "ann@example.org \(key)\n")
        let unsigned = try await shop.push()
        try await serve(shop, tls: false) { url, _ in
            let refused = await failure { () async throws(GitFailure) in try await read(shop, url, signers: "signers") { $0.authorityFile = nil } }
            #expect(refused?.cause == .refused && refused?.message.contains("\(unsigned.prefix(12)) is not signed") == true)
            let signed = try await shop.push("specs", ["state/a.yaml": "b"], "-S\(shop.folder)/ann")
            let tree = try await read(shop, url, signers: "signers") { $0.authorityFile = nil }.tree
            #expect(tree?.commit == signed && tree?.notes == ["\(signed.prefix(12)) is signed by ann@example.org"])
        }
        // No login travels there.
        try await serve(shop, "--login", "ann:s3cret", tls: false) { url, port in
            let open = url.replacing("http://", with: "http://ann:s3cret@")
            let refused = await failure { () async throws(GitFailure) in try await read(shop, open, signers: "signers") { $0.authorityFile = nil } }
            #expect(
                refused?.cause == .denied && refused?.message.contains("anybody on the way could read it") == true,
                "\(String(describing: refused))"
            )
            let asked = try log(shop)
            #expect(!asked.contains { $0.hasSuffix("login") })
        }
    }

    @Test func readsOverGitsOwnProtocol() async throws {
        let shop = try Workshop()
        try await shop.repository()
        let key = try await shop.key("ann")
        try shop.write("signers", "ann@example.org \(key)\n")
        let signed = try await shop.push("specs", ["state/a.yaml": "b"], "-S\(shop.folder)/ann")
        let free = "import socket;s=socket.socket();s.bind((\"127.0.0.1\",0));print(s.getsockname()[1])"
        let daemon = "git daemon --export-all --listen=127.0.0.1 --port=$port --base-path='\(shop.folder)' >/dev/null 2>&1 & daemon=$!"
        let ready = "until bash -c \"exec 3<>/dev/tcp/127.0.0.1/$port\" 2>/dev/null; do kill -0 $daemon || exit 1; sleep 0.05; done"
        let script = "port=$(python3 -c '\(free)')\n\(daemon)\n\(ready)\necho $port\ncat >/dev/null\nkill $daemon"
        try await withServer(["sh", "-c", script]) { port in
            let tree = try await read(shop, "git://127.0.0.1:\(port)/specs.git", signers: "signers") { $0.authorityFile = nil }.tree
            #expect(tree?.commit == signed)
            #expect(
                try await read(shop, "git://127.0.0.1:\(port)/specs.git", unless: signed, signers: "signers") { $0.authorityFile = nil }.unchanged
                    == signed
            )
        }
    }

    @Test func followsNobodyToAnotherHost() async throws {
        let shop = try Workshop()
        let commit = try await shop.repository()
        try shop.write("token", "s3cret")
        try await serve(shop, "--login", "x-access-token:s3cret") { target, port in
            for (host, isFollowed) in [("127.0.0.1", false), ("localhost", true)] {
                let secure = ["--tls", "\(shop.folder)/cert.pem", "\(shop.folder)/key.pem"]
                try await withServer([gitServer, "--behave", "redirect=https://\(host):\(port)"] + secure) { port in
                    let url = "https://localhost:\(port)/specs.git"
                    if isFollowed {
                        let tree = try await read(shop, url) { $0.tokenFile = "\(shop.folder)/token" }.tree
                        #expect(tree?.commit == commit)
                    } else {
                        let refused = await failure { () async throws(GitFailure) in
                            try await read(shop, url) { $0.tokenFile = "\(shop.folder)/token" }
                        }
                        #expect(refused.is(.denied, "sends us elsewhere"), "\(String(describing: refused))")
                        let asked = try log(shop)
                        #expect(asked == [], "the other host was not asked")
                    }
                }
            }
        }
    }

    /// Whatever a server does, there is an answer in time, with a reason.
    @Test(arguments: [
        ("silent", GitFailure.Cause.timedOut, "within 5 s (connecting to localhost"), ("trickle", .timedOut, "within 5 s"), ("cut", .unreachable, ""),
        ("garbage", .unreachable, ""), ("status=500", .unreachable, "500"), ("status=404", .denied, "no such repository"),
        ("endless-refs", .refused, "advertises more than"), ("cut-pack", .unreachable, ""), ("greeting=\\x00\\x00", .unreachable, ""),
    ])
    func endsWhateverAServerDoes(behaviour: String, cause: GitFailure.Cause, words: String) async throws {
        let shop = try Workshop()
        try await shop.repository("specs", ["state/a.yaml": String((0..<20_000).map { _ in "abcdefghij".randomElement() ?? "x" })])
        try await serve(shop, "--behave", behaviour) { url, _ in
            let start = ContinuousClock.now
            let failure = await failure { () async throws(GitFailure) in
                try await read(shop, url) { if cause == .timedOut { $0.timeout = .seconds(5) } }
            }
            #expect(failure.is(cause, words), "\(behaviour): \(String(describing: failure))")
            #expect(.now - start < .seconds(60))
        }
    }

    @Test func aServerThatIsNotThereIsSaid() async throws {
        let shop = try Workshop()
        let failure = await failure { () async throws(GitFailure) in try await shop.read(GitLocation(url: "https://127.0.0.1:1/specs.git")) }
        #expect(failure?.cause == .unreachable && failure?.message.contains("127.0.0.1") == true)
    }

    @Test func limitsOfAFetchAreNamed() async throws {
        let shop = try Workshop()
        try await shop.repository("specs", ["a.yaml": "a"])
        // Large, and does not compress.
        try await shop.run("sh", "-c", "head -c 3000000 /dev/urandom > specs/random.bin")
        try await shop.push()
        for index in 0..<20 { try await shop.run("git", "-C", "specs", "push", "-q", "origin", "HEAD:refs/heads/b\(index)") }
        try await serve(shop) { url, _ in
            func refused(_ change: @escaping (inout GitOptions) -> Void) async -> GitFailure? {
                await failure { () async throws(GitFailure) in
                    try await read(shop, url) {
                        $0.cacheDirectory = nil
                        change(&$0)
                    }
                }
            }
            let pack = await refused { $0.limits.packBytes = 1 << 20 }
            #expect(pack?.cause == .refused && pack?.message.contains("1048576 bytes") == true, "\(String(describing: pack))")
            let objects = await refused { $0.limits.objects = 3 }
            #expect(objects?.cause == .refused && objects?.message.contains("objects") == true, "\(String(describing: objects))")
            let references = await refused { $0.limits.references = 10 }
            #expect(
                references?.cause == .refused && references?.message.contains("22 branches and tags") == true,
                "\(String(describing: references))"
            )
            let tree = try await read(shop, url).tree
            #expect(tree?.texts == ["a.yaml=a"])
        }
    }
}
