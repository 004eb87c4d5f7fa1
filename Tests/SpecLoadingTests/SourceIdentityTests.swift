import Foundation
import SpecSources
import Testing

/// Which specs are the same ones: their inventory, and so what may be pruned, hangs on it.
struct SourceIdentityTests {
    private func withFolder(_ body: (URL) throws -> Void) throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("plumb-identity-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        try body(folder)
    }

    /// A folder `state` in something that git would take for a checkout.
    private func checkout(_ origin: String?, in folder: URL, _ name: String) throws -> String {
        let root = folder.appendingPathComponent(name)
        for inner in [".git", "state"] {
            try FileManager.default.createDirectory(at: root.appendingPathComponent(inner), withIntermediateDirectories: true)
        }
        var text = "[core]\n\tbare = false\n[remote \"fork\"]\n\turl = https://example.com/fork\n"
        if let origin { text += "[remote \"origin\"]\n\tfetch = x\n\turl = \(origin)\n[branch \"main\"]\n\tremote = origin\n" }
        try Data(text.utf8).write(to: root.appendingPathComponent(".git/config"))
        return root.appendingPathComponent("state").path
    }

    @Test func aCheckoutIsTheSameEverywhereAndHoweverItWasCloned() throws {
        try withFolder { folder in
            let origins = [
                "https://github.com/owner/repository.git", "https://github.com/owner/repository/", "git@github.com:owner/repository.git",
                "ssh://git@GitHub.com:22/owner/repository", "https://user:hunter2@github.com/owner/repository.git",
            ]
            let identities = try origins.enumerated().map { SourceIdentity(of: try checkout($1, in: folder, "c\($0)")) }
            #expect(Set(identities).count == 1)
            #expect(identities[0].words == "github.com/owner/repository, state")
            #expect(identities[0].id.count == 10)
            // Another folder of it, another repository, another server: other specs.
            let others = [
                SourceIdentity(of: folder.appendingPathComponent("c0").path),
                SourceIdentity(of: try checkout("https://github.com/owner/other", in: folder, "d")),
                SourceIdentity(of: try checkout("https://gitlab.com/owner/repository", in: folder, "e")),
            ]
            #expect(Set(others.map(\.id) + [identities[0].id]).count == 4)
        }
    }

    @Test func aRepositoryWithoutACheckoutIsWhatItsCheckoutsAre() throws {
        try withFolder { folder in
            let checkout = SourceIdentity(of: try checkout("https://github.com/owner/repository.git", in: folder, "c"))
            for url in ["https://GitHub.com/owner/repository", "git@github.com:owner/repository.git", "ssh://git@github.com/owner/repository.git/"] {
                #expect(SourceIdentity(ofRemote: url, path: "state") == checkout)
            }
            #expect(SourceIdentity(ofRemote: "https://github.com/owner/repository", path: "") == SourceIdentity(of: folder.path + "/c"))
            let local = SourceIdentity(ofRemote: "file:///srv/a.git", path: "state")
            #expect(local.words.hasPrefix("file:///srv/a.git on ") && local.words.hasSuffix(", state"))
            #expect(local.id != SourceIdentity(ofRemote: "file:///srv/b.git", path: "state").id && local.id != checkout.id)
        }
    }

    @Test func allElseIsAPathOnThisMachine() throws {
        try withFolder { folder in
            let paths = [
                try checkout(nil, in: folder, "none"), try checkout("/srv/git/x.git", in: folder, "path"),
                try checkout("../x", in: folder, "relative"),
                try checkout("file:///srv/git/x.git", in: folder, "file"),
            ]
            for path in paths {
                let identity = SourceIdentity(of: path)
                #expect(identity.words.contains("/state on "))
                #expect(identity == SourceIdentity(of: path + "/../state"))
            }
            #expect(Set(paths.map { SourceIdentity(of: $0).id }).count == paths.count)
        }
    }

    @Test func aWorktreeIsOfItsRepository() throws {
        try withFolder { folder in
            let main = SourceIdentity(of: try checkout("https://github.com/owner/repository", in: folder, "main"))
            let own = folder.appendingPathComponent("main/.git/worktrees/tree")
            let tree = folder.appendingPathComponent("tree/state")
            for inner in [own, tree] { try FileManager.default.createDirectory(at: inner, withIntermediateDirectories: true) }
            try Data("../..\n".utf8).write(to: own.appendingPathComponent("commondir"))
            try Data("gitdir: \(own.path)\n".utf8).write(to: folder.appendingPathComponent("tree/.git"))
            #expect(SourceIdentity(of: tree.path) == main)
        }
    }
}
