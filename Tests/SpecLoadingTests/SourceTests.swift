import Foundation
import SpecSources
import Testing

/// What is read of a folder, and what is refused.
struct SourceTests {
    /// A folder that is gone when `body` ends.
    private func withFolder(_ body: (URL) throws -> Void) throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("plumb-source-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder.appendingPathComponent("specs/inner"), withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        try body(folder)
    }

    private func write(_ text: String, _ url: URL) throws { try Data(text.utf8).write(to: url) }

    @Test func readsYAMLInStableOrderAndSkipsTheRest() throws {
        try withFolder { folder in
            let specs = folder.appendingPathComponent("specs")
            for name in ["b.yaml", "a.yml", "inner/c.yaml", ".hidden.yaml", "x.txt", "inner/ignored.yaml", "inner/kept.yaml"] {
                try write(name, specs.appendingPathComponent(name))
            }
            try write("# comment\ninner/*\n!inner/kept.yaml\n!c.yaml\n", specs.appendingPathComponent(".plumbignore"))
            let (files, problems) = readSource(specs.path)
            #expect(problems.isEmpty)
            #expect(files.map(\.relativePath) == ["a.yml", "b.yaml", "inner/c.yaml", "inner/kept.yaml"])
            #expect(files.first?.bytes == Array("a.yml".utf8))
        }
    }

    @Test func readsOneFile() throws {
        try withFolder { folder in
            let file = folder.appendingPathComponent("specs/one.yaml")
            try write("x", file)
            #expect(readSource(file.path).files.map(\.relativePath) == ["one.yaml"])
        }
    }

    /// Who follows a source may mean it to be empty, and has to tell that from everything else.
    @Test func saysWhatOfASourceIsNotThere() throws {
        try withFolder { folder in
            let specs = folder.appendingPathComponent("specs")
            #expect(readSource(specs.path).problems.map(\.absence) == [.specs])
            #expect(readSource(specs.appendingPathComponent("none").path).problems.map(\.absence) == [.source])
            try FileManager.default.createSymbolicLink(atPath: specs.appendingPathComponent("gone.yaml").path, withDestinationPath: "nowhere.yaml")
            #expect(readSource(specs.path).problems.map(\.absence) == [nil])
        }
    }

    @Test func refusesLinksThatLeaveTheSource() throws {
        try withFolder { folder in
            let specs = folder.appendingPathComponent("specs")
            try write("secret", folder.appendingPathComponent("secret.yaml"))
            try write("fine", specs.appendingPathComponent("inner/fine.yaml"))
            let manager = FileManager.default
            try manager.createSymbolicLink(atPath: specs.appendingPathComponent("out.yaml").path, withDestinationPath: "../secret.yaml")
            try manager.createSymbolicLink(atPath: specs.appendingPathComponent("etc").path, withDestinationPath: "/etc")
            try manager.createSymbolicLink(atPath: specs.appendingPathComponent("nowhere.yaml").path, withDestinationPath: "gone.yaml")
            try manager.createSymbolicLink(atPath: specs.appendingPathComponent("within.yaml").path, withDestinationPath: "inner/fine.yaml")
            try manager.createSymbolicLink(atPath: specs.appendingPathComponent("inner/loop").path, withDestinationPath: "..")
            let (files, problems) = readSource(specs.path)
            #expect(files.map(\.relativePath) == ["inner/fine.yaml", "within.yaml"])
            #expect(problems.map { $0.path.split(separator: "/").last.map(String.init) } == ["etc", "nowhere.yaml", "out.yaml"])
        }
    }

    @Test func refusesWhatIsNoPlainFileOrTooMuch() throws {
        try withFolder { folder in
            let specs = folder.appendingPathComponent("specs")
            #expect(mkfifo(specs.appendingPathComponent("pipe.yaml").path, 0o600) == 0)
            try write(String(repeating: "#", count: 100), specs.appendingPathComponent("large.yaml"))
            var limits = SourceLimits()
            limits.fileBytes = 50
            let (files, problems) = readSource(specs.path, limits: limits)
            #expect(files.isEmpty)
            #expect(problems.count == 2)
            #expect(!readSource(folder.appendingPathComponent("none").path).problems.isEmpty)
            #expect(!readSource(specs.appendingPathComponent("inner").path).problems.isEmpty)
        }
    }

    @Test func totalsAreLimited() throws {
        try withFolder { folder in
            for index in 0..<20 { try write("0123456789", folder.appendingPathComponent("specs/\(index).yaml")) }
            var limits = SourceLimits()
            limits.totalBytes = 95
            #expect(!readSource(folder.path, limits: limits).problems.isEmpty)
            limits = SourceLimits()
            limits.files = 5
            #expect(!readSource(folder.path, limits: limits).problems.isEmpty)
        }
    }

    @Test func contentDigestKeepsNamesAndContentsApart() throws {
        try withFolder { folder in
            let a = folder.appendingPathComponent("specs/a.yaml")
            try write("bc", a)
            let first = contentDigest(of: readSource(folder.path).files)
            #expect(first == contentDigest(of: readSource(folder.path).files))
            try write("cb", a)
            #expect(first != contentDigest(of: readSource(folder.path).files))
            try FileManager.default.moveItem(at: a, to: folder.appendingPathComponent("specs/b.yaml"))
            try write("bc", folder.appendingPathComponent("specs/b.yaml"))
            #expect(first != contentDigest(of: readSource(folder.path).files))
        }
    }
}
