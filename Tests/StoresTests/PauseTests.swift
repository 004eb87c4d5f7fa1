import Foundation
import GRDB
import Stores
import Testing

@Suite(.serialized) struct PauseTests {
    private func record(_ scope: PauseRecord.Scope, reason: String = "why", since: Date = noon, until: Date? = nil) -> PauseRecord {
        PauseRecord(scope, reason: reason, user: "alice", host: "laptop", since: since, until: until)
    }

    private func pause(_ journal: Journal, _ records: PauseRecord..., at now: Date = noon) async throws {
        _ = try await journal.pause(records.map { ($0, words: "words") }, by: alice, message: "why; for ever", at: now)
    }

    private func resume(_ journal: Journal, _ scope: PauseRecord.Scope, at now: Date = noon) async throws -> [PauseRecord] {
        try await journal.resume([(scope, words: "words")], where: { $0.scope == scope }, by: alice, message: { "\($0.count)" }, at: now).resumed
    }

    private func withJournal(_ body: (Journal, PauseStore) async throws -> Void) async throws {
        try await withScratch { path in
            let journal = try Journal.open(in: try DataDirectory(creating: path))
            try await body(journal, PauseStore(in: DataDirectory(existing: path)))
        }
    }

    @Test func isKeptJournaledAndTakenBack() async throws {
        try await withJournal { journal, store in
            let all = [record(.addresses("pi-1/*")), record(.host("pi-2"), until: noon + 60), record(.all, until: noon + 0.5)]
            try await pause(journal, all[0], all[1], all[2])
            #expect(try store.active(at: noon) == all)
            #expect(try store.active(at: noon + 1) == Array(all.prefix(2)), "the time of one is over")
            #expect(try store.active(at: noon + 60) == [all[0]])
            let run = try #require(try await journal.run(1))
            #expect(run.start.command == "pause" && run.start.source == "words words words" && run.start.caller == alice)
            #expect(run.outcome == .complete && run.message == "why; for ever" && run.ended == noon)

            #expect(try await resume(journal, .host("pi-2"), at: noon + 1) == [all[1]])
            #expect(try store.active(at: noon + 1) == [all[0]])
            #expect(try await resume(journal, .host("pi-2")) == [], "it is not paused any more")
            #expect(try await journal.run(2)?.start.command == "resume")
            #expect(try await journal.openRuns().isEmpty)
        }
    }

    @Test func pausingAgainIsTheNewReasonAndTime() async throws {
        try await withJournal { journal, store in
            try await pause(journal, record(.all, until: noon + 60))
            let second = record(.all, reason: "other", since: noon + 5)
            try await pause(journal, second, at: noon + 5)
            #expect(try store.active(at: noon + 100) == [second])
        }
    }

    @Test func whatWasNotPausedIsTriedAgainAllTheSame() async throws {
        try await withJournal { journal, store in
            #expect(try store.resumptions(after: 0).scopes == [])
            _ = try await resume(journal, .addresses("pi-1/x"))
            _ = try await resume(journal, .all)
            let (scopes, latest) = try store.resumptions(after: 0)
            #expect(scopes == [.addresses("pi-1/x"), .all])
            #expect(try store.resumptions(after: latest).scopes == [])
            _ = try await resume(journal, .host("pi-2"))
            #expect(try store.resumptions(after: latest).scopes == [.host("pi-2")])
            let many = (0..<1010).map { (PauseRecord.Scope.host("h\($0)"), words: "") }
            _ = try await journal.resume(many, where: { _ in false }, by: alice, message: { _ in "" }, at: noon)
            #expect(try store.resumptions(after: 0).scopes.count == 1000, "it does not grow without end")
        }
    }

    @Test func aStoreSeesTheJournalBeginAndBeginAnew() async throws {
        try await withScratch { path in
            let store = PauseStore(in: DataDirectory(existing: "\(path)/data"))
            #expect(try store.active(at: noon) == [])
            #expect(!FileManager.default.fileExists(atPath: "\(path)/data"), "asking makes nothing")
            let first = try store.version()
            try await pause(try Journal.open(in: try DataDirectory(creating: "\(path)/data")), record(.all))
            #expect(try store.active(at: noon) == [record(.all)])
            let second = try store.version()
            #expect(second != first)
            #expect(try store.version() == second)

            try FileManager.default.moveItem(atPath: "\(path)/data", toPath: "\(path)/old")
            #expect(try store.active(at: noon) == [])
            try await pause(try Journal.open(in: try DataDirectory(creating: "\(path)/data")), record(.host("pi-1")))
            #expect(try store.active(at: noon) == [record(.host("pi-1"))])
        }
    }

    @Test func otherWritesToTheJournalAreNoChange() async throws {
        try await withJournal { journal, store in
            try await pause(journal, record(.all))
            let version = try store.version()
            _ = try await journal.begin(.example, actions: [.example()])
            #expect(try store.version() == version)
            #expect(try store.active(at: noon) == [record(.all)])
        }
    }

    @Test(arguments: [makeFirstSchema, makeSecondSchema]) func anOlderJournalHasNoPausesAndIsMigratedByTheFirst(
        make: (String) throws -> Void
    ) async throws {
        try await withScratch { path in
            let file = "\(path)/journal.sqlite"
            try make(file)
            let before = FileManager.default.contents(atPath: file)
            let store = PauseStore(in: DataDirectory(existing: path))
            #expect(try store.active(at: noon) == [] && store.resumptions(after: 0).scopes == [])
            #expect(FileManager.default.contents(atPath: file) == before, "reading changes nothing")

            let journal = try Journal.open(in: try DataDirectory(creating: path))
            try await pause(journal, record(.host("pi-1")))
            #expect(try store.active(at: noon) == [record(.host("pi-1"))])
            #expect(try await journal.run(7)?.message == "1 succeeded", "what was there stays")
            let isSecond = try await journal.inventory().settings.map(\.address) == ["pi-1/NetworkInterface/wlan0"]
            #expect(isSecond == (try await journal.inventory().identities["pi-1"] != nil))
            #expect(try await DatabaseQueue(path: file).read { try Int.fetchOne($0, sql: "PRAGMA user_version") } == 3)
        }
    }

    @Test func whatCantBeReadIsNeverNothing() async throws {
        try await withScratch { path in
            let directory = try DataDirectory(creating: path)
            try await pause(try Journal.open(in: directory), record(.all))
            let store = PauseStore(in: directory)
            #expect(try store.active(at: noon).count == 1)
            let database = try DatabaseQueue(path: "\(path)/journal.sqlite")
            try await database.write { try $0.execute(sql: "UPDATE pause SET scope = 'galaxy'") }
            #expect(await failure { _ = try store.active(at: noon) }?.message.contains("unknown sort ('galaxy')") == true)
            try await database.write { try $0.execute(sql: "UPDATE pause SET scope = 'all'") }
            #expect(try store.active(at: noon) == [record(.all)])
            try await database.write { try $0.execute(sql: "PRAGMA user_version = 99") }
            #expect(await failure { _ = try store.active(at: noon) }?.message.contains("newer Plumb") == true)
            #expect(await failure { _ = try store.active(at: noon) }?.message.contains("newer Plumb") == true, "also when asked again")
        }
        try await withScratch { path in
            try Data("no database at all, but long enough to be taken for one".utf8).write(to: URL(fileURLWithPath: "\(path)/journal.sqlite"))
            #expect(await failure { _ = try PauseStore(in: DataDirectory(existing: path)).active(at: noon) }?.message.contains("is damaged") == true)
        }
    }

    @Test func canBeReadOnAReadOnlyDisk() async throws {
        try await withDisk(size: "4m") { path in
            let store = PauseStore(in: DataDirectory(existing: path))
            do { try await pause(try Journal.open(in: try DataDirectory(creating: path)), record(.all)) }
            try command("mount", "-o", "remount,ro", path)
            #expect(try store.active(at: noon) == [record(.all)])
        }
    }

    @Test func thereIsALimit() async throws {
        try await withJournal { journal, store in
            let many = (0..<PauseRecord.limit).map { record(.host("h\($0)")) }
            _ = try await journal.pause(many.map { ($0, words: "") }, by: alice, message: "", at: noon)
            let refusal = await failure { try await pause(journal, record(.all), record(.host("h0"))) }
            #expect(refusal?.message == "there would be 1001 pauses, more than 1000")
            #expect(try store.active(at: noon).count == PauseRecord.limit)
        }
    }

    /// One process writes an apply's journal as fast as it can while others pause and resume, and each is seen by the next question.
    @Test func pausesWhileAnApplyWrites() async throws {
        try await withScratch { path in
            let directory = try DataDirectory(creating: path)
            let apply = try Journal.open(in: directory)
            let journal = try Journal.open(in: directory)
            let store = PauseStore(in: directory)
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    for count in 0..<300 {
                        let run = try await apply.begin(.example, actions: [.example("pi-\(count)/x")])
                        try await apply.start("pi-\(count)/x", of: run, at: noon)
                        _ = try store.active(at: noon)
                    }
                }
                group.addTask {
                    for count in 0..<100 {
                        try await self.pause(journal, self.record(.all, reason: "\(count)"))
                        #expect(try store.active(at: noon).map(\.reason) == ["\(count)"])
                        _ = try await self.resume(journal, .all)
                        #expect(try store.active(at: noon) == [])
                    }
                }
                try await group.waitForAll()
            }
        }
    }
}
