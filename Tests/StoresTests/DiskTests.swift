import Foundation
import Glibc
import Stores
import Testing

/// Disks that are full, read-only, or somebody else's.
@Suite(.serialized) struct DiskTests {
    @Test func aFullDiskIsNamedAndLosesNothing() async throws {
        try await withDisk(size: "1m") { path in
            let directory = try DataDirectory(creating: path)
            let journal = try Journal.open(in: directory)
            let run = try await journal.begin(.example, actions: [.example("a/b"), .example("a/c")])
            try await journal.start("a/b", of: run, at: noon)
            fill(path)
            let failure = try #require(
                await failure {
                    // What is left of the last page may take a few more.
                    for _ in 0..<2000 { try await journal.end("a/b", of: run, outcome: .failed, message: "x", at: noon, took: nil) }
                }
            )
            #expect(failure.message.contains(path) && failure.message.contains("its disk is full"), "\(failure)")
            #expect(try await journal.actions(of: run).map(\.start.address) == ["a/b", "a/c"])
            unlink("\(path)/filler")
            try await journal.end("a/b", of: run, outcome: .succeeded, message: "", at: noon, took: nil)
            #expect(try await journal.actions(of: run).first?.outcome == .succeeded)
        }
    }

    @Test func nothingBeginsOnAFullDisk() async throws {
        try await withDisk(size: "256k") { path in
            fill(path)
            let failure = try #require(
                await failure {
                    let directory = try DataDirectory(creating: path)
                    _ = try ApplyLock.take(in: directory, for: LockHolder(caller: alice, since: noon, command: "plumb apply"))
                    _ = try await Journal.open(in: directory).begin(.example)
                }
            )
            #expect(failure.message.contains(path) && !failure.fix.isEmpty, "\(failure)")
        }
    }

    @Test func aReadOnlyDiskIsNamedAndCanBeRead() async throws {
        try await withDisk(size: "4m") { path in
            do {
                let journal = try Journal.open(in: try DataDirectory(creating: path))
                _ = try await journal.begin(.example)
            }
            try command("mount", "-o", "remount,ro", path)
            let failure = await failure { _ = try DataDirectory(creating: path) }
            #expect(failure?.message == "the data directory \(path) can't be written: Read-only file system")
            let journal = try #require(try Journal.openForReading(in: DataDirectory(existing: path)))
            #expect(try await journal.runs(limit: 10).map(\.id) == [1])
        }
    }

    @Test func aReadOnlyPlaceForTheDirectoryIsNamed() async throws {
        try await withDisk(size: "1m") { path in
            try command("mount", "-o", "remount,ro", path)
            let failure = await failure { _ = try DataDirectory(creating: "\(path)/a/b") }
            #expect(failure?.message == "the data directory \(path)/a/b can't be made: Read-only file system")
        }
    }

    @Test func aFileInItsPlaceIsNamed() async throws {
        try await withScratch { path in
            #expect(FileManager.default.createFile(atPath: "\(path)/data", contents: nil))
            #expect(await failure { _ = try DataDirectory(creating: "\(path)/data") }?.message.contains("is no directory") == true)
            #expect(await failure { _ = try DataDirectory(creating: "\(path)/data/x") }?.message.contains("can't be made") == true)
        }
    }

    @Test func aLinkInTheJournalsPlaceIsRefused() async throws {
        try await withScratch { path in
            #expect(FileManager.default.createFile(atPath: "\(path)/elsewhere", contents: Data("precious".utf8)))
            try FileManager.default.createSymbolicLink(atPath: "\(path)/journal.sqlite", withDestinationPath: "\(path)/elsewhere")
            let failure = await failure { _ = try Journal.open(in: try DataDirectory(creating: path)) }
            #expect(failure?.message.contains("can't be opened") == true)
            #expect(FileManager.default.contents(atPath: "\(path)/elsewhere") == Data("precious".utf8))
        }
    }

    @Test func closesItsOwnDirectoryAndNoOther() async throws {
        try await withScratch { path in
            for (name, entry) in [("own", "journal.sqlite"), ("other", "photos")] {
                let folder = "\(path)/\(name)"
                try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
                chmod(folder, 0o755)
                #expect(FileManager.default.createFile(atPath: "\(folder)/\(entry)", contents: nil))
            }
            _ = try DataDirectory(creating: "\(path)/own")
            _ = try DataDirectory(creating: "\(path)/other")
            #expect(mode(of: "\(path)/own") == 0o700 && mode(of: "\(path)/other") == 0o755)
            chmod("\(path)/other", 0o777)
            #expect(await failure { _ = try DataDirectory(creating: "\(path)/other") }?.message.contains("others can write") == true)
        }
    }

    /// `sudo plumb apply` with the person's HOME must not leave what the person can't open any more.
    @Test(.enabled(if: geteuid() == 0)) func whatRootMakesIsThePersons() async throws {
        try await withScratch { path in
            chown(path, 1234, 1234)
            let directory = try DataDirectory(creating: "\(path)/.local/state/plumb")
            let journal = try Journal.open(in: directory)
            _ = try await journal.begin(.example)
            for name in [".local", ".local/state/plumb", ".local/state/plumb/journal.sqlite", ".local/state/plumb/journal.sqlite-wal"] {
                let owner = try FileManager.default.attributesOfItem(atPath: "\(path)/\(name)")[.ownerAccountID] as? NSNumber
                #expect(owner?.intValue == 1234, "\(name)")
            }
        }
    }

    private func fill(_ path: String) {
        let descriptor = open("\(path)/filler", O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
        let block = Array(repeating: UInt8(0), count: 4096)
        while write(descriptor, block, block.count) > 0 {}
        close(descriptor)
    }
}
