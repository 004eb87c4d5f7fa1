import Foundation
import GRDB
import Glibc
import Stores
import Testing

/// A writer is killed at random moments: what it was told is kept, is kept, and nothing blocks the next one.
struct KillTests {
    private static let rounds = 60

    @Test(.timeLimit(.minutes(5))) func killedWritersLoseNothing() async throws {
        try await withScratch { path in
            var random = SystemRandomNumberGenerator()
            var interrupted = 0
            var underWay = 0
            for round in 0..<Self.rounds {
                let said = try await runAndKill(path, after: .milliseconds(Int.random(in: 2...60, using: &random)))
                let directory = try DataDirectory(creating: path)
                let holder = LockHolder(caller: alice, since: noon, command: "test")
                guard case .taken(let lock) = try ApplyLock.take(in: directory, for: holder) else {
                    Issue.record("round \(round): the dead hold the lock")
                    return
                }
                let journal = try Journal.open(in: directory)
                try await check(said, against: journal, round: round)
                let open = try await journal.openRuns()
                #expect(open.count <= 1 && open.allSatisfy { $0.start.caller.process.liveness == .dead })
                for run in open {
                    interrupted += 1
                    let started = try await journal.actions(of: run.id).filter(\.isUnderWay)
                    #expect(started.count <= 1)
                    underWay += started.count
                    try await journal.closeInterrupted(run.id, at: noon)
                }
                #expect(try await journal.openRuns().isEmpty)
                lock.release()
            }
            let database = try DatabaseQueue(path: "\(path)/journal.sqlite")
            #expect(try await database.read { try String.fetchAll($0, sql: "PRAGMA integrity_check") } == ["ok"])
            #expect(interrupted > Self.rounds / 4, "too few were killed in the middle of a run: \(interrupted)")
            print("killed \(Self.rounds) writers: \(interrupted) in a run, \(underWay) in an action; nothing lost")
        }
    }

    private func runAndKill(_ path: String, after time: Duration) async throws -> [[Substring]] {
        let process = Process()
        let pipe = Pipe()
        process.executableURL = built("JournalWriter")
        process.arguments = [path]
        process.standardOutput = pipe
        try process.run()
        // It is up once it says its first word.
        var output = pipe.fileHandleForReading.availableData
        try await Task.sleep(for: time)
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
        output += try pipe.fileHandleForReading.readToEnd() ?? Data()
        #expect(!output.isEmpty)
        return String(decoding: output, as: UTF8.self).split(separator: "\n").map { $0.split(separator: " ") }
    }

    private func check(_ said: [[Substring]], against journal: Journal, round: Int) async throws {
        var actions: [Int64: [String: ActionRecord]] = [:]
        for words in said {
            let id = try #require(Int64(words[1]))
            let run = try #require(try await journal.run(id), "round \(round): run \(id) is lost")
            if actions[id] == nil {
                actions[id] = Dictionary(uniqueKeysWithValues: try await journal.actions(of: id).map { ($0.start.address, $0) })
                #expect(actions[id]?.count == 8)
            }
            switch words[0] {
            case "S": #expect(actions[id]?[String(words[2])]?.started != nil, "round \(round): \(words) is lost")
            case "E": #expect(actions[id]?[String(words[2])]?.outcome == .succeeded, "round \(round): \(words) is lost")
            case "X": #expect(run.outcome == .complete, "round \(round): \(words) is lost")
            default: break
            }
        }
    }
}
