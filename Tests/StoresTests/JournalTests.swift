import Foundation
import GRDB
import Stores
import Testing
import Values

struct JournalTests {
    @Test func keepsWhatItWasTold() async throws {
        try await withScratch { path in
            let directory = try DataDirectory(creating: path)
            let first = try Journal.open(in: directory)
            let run = try await first.begin(.example, actions: [.example(), .example("pi-2/NetworkInterface/wlan0")])
            try await first.start("pi-1/NetworkInterface/wlan0", of: run, at: noon + 1)
            #expect(try await first.openRuns().map(\.id) == [run])
            #expect(try await first.actions(of: run).map(\.isUnderWay) == [true, false])
            try await first.end(
                "pi-1/NetworkInterface/wlan0",
                of: run,
                outcome: .failed,
                message: "no \u{1B}[31mlink",
                at: noon + 3,
                took: .milliseconds(2100)
            )
            try await first.end("pi-2/NetworkInterface/wlan0", of: run, outcome: .skipped, message: "depends on it", at: noon + 3, took: nil)
            try await first.end(run, outcome: .incomplete, message: "0 succeeded", at: noon + 4)

            let second = try Journal.open(in: directory)
            let read = try #require(try await second.run(run))
            #expect(read.start == .example && read.ended == noon + 4 && read.outcome == .incomplete && read.message == "0 succeeded")
            #expect(read.counts == [.failed: 1, .skipped: 1])
            let actions = try await second.actions(of: run)
            #expect(actions.map(\.start) == [.example(), .example("pi-2/NetworkInterface/wlan0")])
            #expect(actions[0].started == noon + 1 && actions[0].ended == noon + 3 && actions[0].duration == .milliseconds(2100))
            #expect(actions[0].message == "no \u{1B}[31mlink" && actions[1].started == nil && actions[1].outcome == .skipped)
            #expect(try await second.openRuns().isEmpty)
        }
    }

    @Test func listsNewestFirst() async throws {
        try await withScratch { path in
            let journal = try Journal.open(in: try DataDirectory(creating: path))
            for _ in 0..<5 { _ = try await journal.begin(.example) }
            #expect(try await journal.runs(limit: 3).map(\.id) == [5, 4, 3])
            #expect(try await journal.run(6) == nil)
        }
    }

    @Test func forgetsOldRunsButNotTheNewestNorWhatIsOpen() async throws {
        try await withScratch { path in
            let journal = try Journal.open(in: try DataDirectory(creating: path))
            var run = RunStart.example
            for day in 0..<500 {
                run.started = noon + Double(day) * 86_400
                let id = try await journal.begin(run, actions: [.example()])
                // The second one never ended.
                if day != 1 { try await journal.end(id, outcome: .complete, message: "", at: run.started) }
            }
            let limit = noon + 400 * 86_400
            #expect(try await journal.forget(before: limit, keeping: 200) == 299)
            #expect(try await journal.runs(limit: 1000).map(\.id).reversed() == [2] + Array(301...500))
            let actions = try await [journal.actions(of: 300).count, journal.actions(of: 301).count]
            #expect(actions == [0, 1])
            #expect(try await journal.forget(before: limit, keeping: 0) == 100)
            #expect(try await journal.runs(limit: 1000).map(\.id).last == 2)
            #expect(try await journal.forget(before: limit, keeping: 0) == 0)
            // Numbers are not given twice.
            #expect(try await journal.begin(run) == 501)
        }
    }

    @Test func closesWhatWasInterrupted() async throws {
        try await withScratch { path in
            let journal = try Journal.open(in: try DataDirectory(creating: path))
            let run = try await journal.begin(.example, actions: [.example("a/b"), .example("a/c"), .example("a/d")])
            try await journal.start("a/b", of: run, at: noon)
            try await journal.end("a/b", of: run, outcome: .succeeded, message: "", at: noon, took: .zero)
            try await journal.start("a/c", of: run, at: noon)
            try await journal.closeInterrupted(run, at: noon + 60)
            #expect(try await journal.actions(of: run).map(\.outcome) == [.succeeded, .interrupted, nil])
            #expect(try await journal.run(run)?.outcome == .interrupted)
            #expect(try await journal.openRuns().isEmpty)
        }
    }

    @Test func writesInWALForOneOwnerOnly() async throws {
        try await withScratch { path in
            let directory = try DataDirectory(creating: "\(path)/a/b")
            let journal = try Journal.open(in: directory)
            _ = try await journal.begin(.example)
            for folder in ["\(path)/a", "\(path)/a/b"] { #expect(mode(of: folder) == 0o700) }
            for name in ["journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm"] { #expect(mode(of: "\(path)/a/b/\(name)") == 0o600) }
            // Bytes 18 and 19 of the header: 2 is WAL.
            let header = try #require(FileManager.default.contents(atPath: journal.path)?.prefix(20))
            #expect(Array(header[18...19]) == [2, 2])
        }
    }

    @Test func canBeReadWhileItIsWritten() async throws {
        try await withScratch { path in
            let directory = try DataDirectory(creating: path)
            let writer = try Journal.open(in: directory)
            let run = try await writer.begin(.example, actions: [.example()])
            let reader = try #require(try Journal.openForReading(in: directory))
            #expect(try await reader.run(run)?.outcome == nil)
            try await writer.end(run, outcome: .complete, message: "", at: noon)
            #expect(try await reader.run(run)?.outcome == .complete)
        }
    }

    @Test func nothingToReadIsNoFailure() throws {
        #expect(try Journal.openForReading(in: DataDirectory(existing: "/nonexistent/plumb")) == nil)
    }

    @Test func refusesANewerSchema() async throws {
        try await withScratch { path in
            let directory = try DataDirectory(creating: path)
            _ = try Journal.open(in: directory)
            let database = try DatabaseQueue(path: "\(path)/journal.sqlite")
            try await database.write { try $0.execute(sql: "PRAGMA user_version = 99") }
            for open in [{ _ = try Journal.open(in: directory) }, { _ = try Journal.openForReading(in: directory) }] {
                let failure = try #require(await failure(open))
                #expect(failure.message.contains("newer Plumb (schema 99, this one knows ") && failure.message.contains(path))
            }
        }
    }

    @Test func leavesTheDatabaseOfAnotherProgramAlone() async throws {
        try await withScratch { path in
            let database = try DatabaseQueue(path: "\(path)/journal.sqlite")
            try await database.write { try $0.execute(sql: "CREATE TABLE theirs (x)") }
            try database.close()
            let before = FileManager.default.contents(atPath: "\(path)/journal.sqlite")
            let failure = await failure { _ = try Journal.open(in: try DataDirectory(creating: path)) }
            #expect(failure?.message.contains("another program") == true)
            #expect(FileManager.default.contents(atPath: "\(path)/journal.sqlite") == before)
        }
    }

    @Test(arguments: [0, 24, 4096, 8192, 12_288])
    func saysThatAFileIsDamaged(offset: Int) async throws {
        try await withScratch { path in
            let directory = try DataDirectory(creating: path)
            do {
                let journal = try Journal.open(in: directory)
                for number in 0..<40 { _ = try await journal.begin(.example, actions: [.example("pi-\(number)/x")]) }
            }
            let file = try FileHandle(forUpdating: URL(fileURLWithPath: "\(path)/journal.sqlite"))
            try file.seek(toOffset: UInt64(offset))
            try file.write(contentsOf: Data(repeating: 0xA5, count: 4096))
            try file.close()
            let failure = await failure { _ = try Journal.open(in: directory) }
            #expect(failure?.message.contains("\(path)/journal.sqlite is damaged") == true, "\(String(describing: failure))")
            #expect(failure?.fix.contains("Move it aside") == true)
        }
    }

    @Test func holdsNoSecret() async throws {
        try await withScratch { path in
            let canary = "canary-\(UUID().uuidString)"
            let secret = Value.sensitive(SensitiveValue(.string(canary)))
            var action = ActionStart.example()
            action.fields = [
                .init(path: "data.password", observed: secret, desired: secret),
                .init(path: "data", observed: nil, desired: ["password": secret, "list": [secret]]),
            ]
            let directory = try DataDirectory(creating: path)
            let journal = try Journal.open(in: directory)
            let run = try await journal.begin(.example, actions: [action])
            try await journal.start(action.address, of: run, at: noon)
            for name in try FileManager.default.contentsOfDirectory(atPath: path) {
                let bytes = try #require(FileManager.default.contents(atPath: "\(path)/\(name)"))
                #expect(bytes.range(of: Data(canary.utf8)) == nil, "\(name)")
                #expect(bytes.range(of: Data(Data(canary.utf8).base64EncodedString().utf8)) == nil, "\(name)")
            }
            #expect(try await journal.actions(of: run).first?.start.fields.first?.observed == "(sensitive)")
        }
    }
}
