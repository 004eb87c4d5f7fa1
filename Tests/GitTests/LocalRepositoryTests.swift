import Foundation
import Git
import SpecSources
import Testing

/// Repositories on this machine, read by the real process.
struct LocalRepositoryTests {
    @Test func readsARevisionByEachOfItsNames() async throws {
        let shop = try Workshop()
        let first = try await shop.repository("specs", ["state/a.yaml": "a", "state/sub/b.yml": "b", "state/c.txt": "c", "d.yaml": "d"])
        try await shop.run("git", "-C", "specs", "tag", "-a", "v1", "-m", "v1")
        try await shop.run("git", "-C", "specs", "push", "-q", "origin", "v1")
        let second = try await shop.push("specs", ["state/a.yaml": "a2"])

        let head = try await shop.read(GitLocation(url: shop.url(), path: "state")).tree
        #expect(head?.commit == second && head?.ref == "refs/heads/main" && head?.problems == [] && head?.notes == [])
        #expect(head?.texts == ["state/a.yaml=a2", "state/sub/b.yml=b"])
        #expect(head?.files.map(\.relativePath) == ["a.yaml", "sub/b.yml"])
        for name in ["main", "refs/heads/main", second] {
            #expect(try await shop.read(GitLocation(url: shop.url(), revision: name, path: "/state/")).tree?.commit == second)
        }
        for name in ["v1", "refs/tags/v1", first] {
            let tree = try await shop.read(GitLocation(url: shop.url(), revision: name)).tree
            #expect(tree?.commit == first && tree?.texts == ["d.yaml=d", "state/a.yaml=a", "state/sub/b.yml=b"])
        }
        // One file, and the top of a checkout.
        #expect(try await shop.read(GitLocation(url: "file://\(shop.folder)/specs", path: "state/a.yaml")).tree?.texts == ["state/a.yaml=a2"])
    }

    /// What merging makes, as git itself does it; nothing is written.
    @Test func joinsACommitWithAnotherOne() async throws {
        let shop = try Workshop()
        let lines = (1...20).map { "line \($0)\n" }
        func text(_ changes: [Int: String] = [:]) -> String { lines.enumerated().map { changes[$0.offset + 1] ?? $0.element }.joined() }
        let files = ["s/both.yaml": text(), "s/ours.yaml": "1", "s/theirs.yaml": "1", "s/gone.yaml": "1", "s/same.yaml": "1", "other.yaml": "1"]
        let start = try await shop.repository("specs", files)
        let base = try await shop.push("specs", ["s/both.yaml": text([2: "base\n"]), "s/theirs.yaml": "2", "s/same.yaml": "2", "s/new.yaml": "base"])
        func branch(_ name: String, _ changes: [String: String], removing: [String] = []) async throws -> String {
            try await shop.run("git", "-C", "specs", "checkout", "-q", "-B", name, start)
            if !removing.isEmpty { try await shop.run(["git", "-C", "specs", "rm", "-q"] + removing) }
            return try await shop.push("specs", changes)
        }
        let head = try await branch(
            "feature",
            ["s/both.yaml": text([19: "head\n"]), "s/ours.yaml": "2", "s/same.yaml": "2", "s/mine.yaml": "head", "other.yaml": "2"],
            removing: ["s/gone.yaml"]
        )
        func read(_ commit: String, into base: String?) async throws -> GitTree? {
            try await shop.read(GitLocation(url: shop.url(), revision: commit, path: "s"), into: base).tree
        }
        let before = try await shop.run("sh", "-c", "find specs.git | sort")
        let merged = try await read(head, into: base)
        #expect(merged?.join == .merged && merged?.commit == head)
        #expect(
            merged?.texts == [
                "s/both.yaml=\(text([2: "base\n", 19: "head\n"]))", "s/mine.yaml=head", "s/new.yaml=base", "s/ours.yaml=2", "s/same.yaml=2",
                "s/theirs.yaml=2",
            ]
        )
        #expect(try await shop.run("sh", "-c", "find specs.git | sort") == before)
        #expect(try await read(head, into: nil)?.join == nil)
        #expect(try await read(head, into: start)?.join == .contained)
        #expect(try await read(head, into: String(repeating: "1", count: 40))?.join == .unrelated)

        let lineConflict = try await branch("lines", ["s/both.yaml": text([2: "head\n"])])
        let removed = try await branch("removed", [:], removing: ["s/theirs.yaml"])
        for commit in [lineConflict, removed] {
            let tree = try await read(commit, into: base)
            #expect(tree?.join == .conflicting)
            let alone = try await read(commit, into: nil)
            #expect(tree?.texts == alone?.texts)
        }
        // A base that is merged already has nothing left to change.
        let contained = try await read(start, into: base)
        let whole = try await read(base, into: nil)
        #expect(contained?.join == .merged && contained?.texts == whole?.texts)

        try await shop.run("git", "-C", "specs", "checkout", "-q", "--orphan", "alone")
        let orphan = try await shop.push("specs", [:])
        #expect(try await read(orphan, into: base)?.join == .unrelated)
    }

    @Test func saysWhatIsNotThere() async throws {
        let shop = try Workshop()
        try await shop.repository()
        let missing = await failure { () async throws(GitFailure) in try await shop.read(GitLocation(url: shop.url(), revision: "nope")) }
        #expect(
            missing?.cause == .invalid && missing?.message.contains("no branch and no tag 'nope'") == true && missing?.fix.contains("main") == true
        )
        let commit = String(repeating: "1", count: 40)
        let unknown = await failure { () async throws(GitFailure) in try await shop.read(GitLocation(url: shop.url(), revision: commit)) }
        #expect(unknown?.cause == .absent && unknown?.message.contains(commit) == true)
        let nowhere = await failure { () async throws(GitFailure) in try await shop.read(GitLocation(url: shop.url("none"))) }
        #expect(nowhere?.cause == .invalid && nowhere?.message.contains("can't be opened") == true)
        let empty = try await shop.read(GitLocation(url: shop.url(), path: "other")).tree
        #expect(empty?.files == [] && empty?.problems.map(\.message) == ["no such file or folder"] && empty?.problems.first?.absence == .source)
        try await shop.run("git", "init", "-q", "--bare", "empty.git")
        let unborn = await failure { () async throws(GitFailure) in try await shop.read(GitLocation(url: shop.url("empty"))) }
        #expect(unborn?.message.contains("is empty") == true)
    }

    @Test func foldersAndTreesHaveTheSameRules() async throws {
        let shop = try Workshop()
        let files = [
            "s/.hidden.yaml": "no", "s/.plumbignore": "ignored/\n!kept.yaml\n", "s/ignored/x.yaml": "no", "s/b.yaml": "b", "s/sub/c.yaml": "c",
            "t/out.yaml": "no",
            "s/lfs.yaml": "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
        ]
        try await shop.repository("specs", files)
        for (link, target) in [
            ("s/within.yaml", "sub/c.yaml"), ("s/dir", "sub"), ("s/loop", "."), ("s/gone.yaml", "nowhere.yaml"), ("s/out.yaml", "../t/out.yaml"),
            ("s/up.yaml", "../../../etc/passwd"), ("s/absolute.yaml", "/etc/passwd"), ("s/self.yaml", "self.yaml"),
        ] {
            try FileManager.default.createSymbolicLink(atPath: "\(shop.folder)/specs/\(link)", withDestinationPath: target)
        }
        try await shop.push()
        let tree = try #require(try await shop.read(GitLocation(url: shop.url(), path: "s")).tree)
        #expect(tree.texts == ["s/b.yaml=b", "s/dir/c.yaml=c", "s/within.yaml=c"])
        let problems = Dictionary(uniqueKeysWithValues: tree.problems.map { ($0.path, $0.message) })
        #expect(problems.keys.sorted() == ["s/absolute.yaml", "s/gone.yaml", "s/lfs.yaml", "s/out.yaml", "s/self.yaml", "s/up.yaml"])
        #expect(problems["s/lfs.yaml"]?.contains("LFS") == true && problems["s/out.yaml"]?.contains("leaves the source") == true)
        #expect(problems["s/up.yaml"]?.contains("leaves the source") == true && problems["s/gone.yaml"]?.contains("link to nothing") == true)
    }

    @Test func submodulesAreNamed() async throws {
        let shop = try Workshop()
        try await shop.repository("inner")
        try await shop.repository()
        try await shop.run("git", "-c", "protocol.file.allow=always", "-C", "specs", "submodule", "--quiet", "add", shop.url("inner"), "state/inner")
        try await shop.push()
        let tree = try #require(try await shop.read(GitLocation(url: shop.url(), path: "state")).tree)
        #expect(tree.problems.map(\.path) == ["state/inner"])
        #expect(tree.problems.first?.message.contains("submodule") == true && tree.problems.first?.fix.contains(".plumbignore") == true)
        try await shop.push("specs", ["state/.plumbignore": "inner\n"])
        #expect(try await shop.read(GitLocation(url: shop.url(), path: "state")).tree?.problems == [])
    }

    @Test func aTreeThatHoldsItselfOverAndOverIsStopped() async throws {
        let shop = try Workshop()
        try await shop.run("git", "init", "-q", "--bare", "bomb.git")
        var object = try await shop.run("git", "-C", "bomb.git", "hash-object", "-w", "--stdin", input: "x")
        var entries = (0..<10).map { "100644 blob \(object)\tf\($0)" }
        for _ in 0..<12 {
            object = try await shop.run("git", "-C", "bomb.git", "mktree", input: entries.joined(separator: "\n") + "\n")
            entries = (0..<10).map { "040000 tree \(object)\td\($0)" }
        }
        let commit = try await shop.run("git", "-C", "bomb.git", "commit-tree", "-m", "bomb", object)
        try await shop.run("git", "-C", "bomb.git", "update-ref", "refs/heads/main", commit)
        let tree = try await shop.read(GitLocation(url: shop.url("bomb"), revision: "main")) { $0.limits.specs.entries = 20_000 }.tree
        #expect(tree?.problems.map(\.message) == ["the source has more than 20000 names; nothing of it is read"])
    }

    @Test func followsABranch() async throws {
        let shop = try Workshop()
        let first = try await shop.repository()
        let location = GitLocation(url: shop.url(), revision: "main")
        #expect(try await shop.read(location, unless: first).unchanged == first)
        let second = try await shop.push("specs", ["state/a.yaml": "2"])
        let third = try await shop.push("specs", ["state/a.yaml": "3"])
        let tree = try await shop.read(location, unless: first, last: first).tree
        #expect(tree?.commit == third && tree?.notes == [])
        // Announced and there, announced and passed by, announced and not there yet.
        #expect(try await shop.read(location, unless: first, expecting: third).tree?.commit == third)
        #expect(try await shop.read(location, unless: first, expecting: second).tree?.commit == third)
        #expect(try await shop.read(location, unless: first, expecting: String(repeating: "1", count: 40)).unchanged == third)

        try await shop.run("git", "-C", "specs", "reset", "-q", "--hard", first)
        let other = try await shop.push("specs", ["state/a.yaml": "other"])
        let forced = try await shop.read(location, unless: third, last: third).tree
        #expect(forced?.commit == other)
        #expect(forced?.notes == ["force-pushed: \(third.prefix(12)) is no longer in main; \(other.prefix(12)) is"])
    }

    @Test func limitsAreNamed() async throws {
        let shop = try Workshop()
        try await shop.repository("specs", ["a.yaml": String(repeating: "x", count: 1000)])
        let large = try await shop.read(GitLocation(url: shop.url())) { $0.limits.specs.fileBytes = 999 }.tree
        #expect(large?.files == [] && large?.problems.first?.message.contains("more than 999 bytes") == true)
        let total = try await shop.read(GitLocation(url: shop.url())) { $0.limits.specs.totalBytes = 999 }.tree
        #expect(total?.problems.first?.message.contains("999 bytes") == true)
        // A folder of many files, and a commit of many words.
        for index in 0..<40 { try shop.write("specs/many/\(index).txt", "x") }
        try await shop.push()
        let folder = await failure { () async throws(GitFailure) in try await shop.read(GitLocation(url: shop.url())) { $0.limits.objectBytes = 1000 }
        }
        #expect(folder.is(.refused, "more than the 1000"), "\(String(describing: folder))")
        try await shop.push("specs", [:], "-m", String(repeating: "x", count: 5000))
        let commit = await failure { () async throws(GitFailure) in try await shop.read(GitLocation(url: shop.url())) { $0.limits.objectBytes = 5000 }
        }
        #expect(commit.is(.refused, "more than the 5000"), "\(String(describing: commit))")
    }
}

/// The process that reads is not trusted to end, or to end well.
struct ReadingProcessTests {
    private func read(_ script: String, timeout: Duration = .seconds(30)) async throws -> GitFailure? {
        let shop = try Workshop()
        try shop.script("odd", script)
        return await failure { () async throws(GitFailure) in
            try await shop.read(GitLocation(url: shop.url())) {
                $0.program = "\(shop.folder)/odd"
                $0.timeout = timeout
            }
        }
    }

    @Test func isKilledAtItsDeadline() async throws {
        let start = ContinuousClock.now
        let failure = try await read("trap '' TERM INT HUP; exec sleep 600", timeout: .milliseconds(300))
        #expect(failure?.cause == .timedOut && failure?.message.contains("within 300 ms") == true)
        #expect(.now - start < .seconds(20))
    }

    @Test(arguments: [
        ("kill -9 $$", "signal 9"), ("exit 0", "ended with 0 before it had answered"), ("exit 7", "ended with 7"),
        ("kill -XCPU $$", "more time of the processor"), ("echo nonsense", "can't be understood"),
        ("printf '\\002\\377\\377\\377\\377'", "can't be understood"),
        ("cat /dev/zero", "can't be understood"),
    ])
    func saysHowItEnded(script: String, words: String) async throws {
        let failure = try await read(script)
        #expect(failure?.message.contains(words) == true, "\(String(describing: failure))")
    }

    @Test func aProgramThatIsNotThereIsSaid() async throws {
        let shop = try Workshop()
        let failure = await failure { () async throws(GitFailure) in
            try await shop.read(GitLocation(url: shop.url())) { $0.program = "/nowhere/plumb" }
        }
        // It says nothing about what is in the repository.
        #expect(failure.is(.unreachable, "can't be started"), "\(String(describing: failure))")
    }

    @Test func endsWithWhoStartedIt() async throws {
        let shop = try Workshop()
        try await shop.repository()
        // Its stdin ends at once: before it has been asked, and after.
        let outcome = try await shop.run("sh", "-c", "'\(plumb)' read-repository </dev/null; echo $?")
        #expect(outcome == "64")
        let later = try await shop.run("sh", "-c", "printf '\\002\\000\\000\\000\\002{}' | '\(plumb)' read-repository; echo $?")
        #expect(later == "64")
    }

    @Test func tooLittleMemoryEndsOnlyTheReading() async throws {
        let shop = try Workshop()
        // Together more than the heap that a process has anyway.
        let text = String(repeating: "#", count: 4_000_000)
        try await shop.repository("specs", Dictionary(uniqueKeysWithValues: (0..<16).map { ("\($0).yaml", text) }))
        #expect(try await shop.read(GitLocation(url: shop.url())).tree?.files.count == 16)
        let failure = await failure { () async throws(GitFailure) in
            try await shop.read(GitLocation(url: shop.url())) {
                $0.limits.memory = 1 << 20
                $0.timeout = .seconds(120)
            }
        }
        #expect(failure != nil && !failure.is(.timedOut), "\(String(describing: failure))")
    }

    @Test func readsManyAtOnce() async throws {
        let shop = try Workshop()
        let commit = try await shop.repository()
        try await withThrowingTaskGroup(of: String?.self) { group in
            for _ in 0..<16 { group.addTask { try await shop.read(GitLocation(url: shop.url())).tree?.commit } }
            for try await found in group { #expect(found == commit) }
        }
    }
}
