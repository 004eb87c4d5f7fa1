import Foundation
import Values

/// What happens where Plumb itself runs: its disk, its journal, its clock, its signals, another one of it.
struct DiskFaults: Sendable {
    let tally: Tally
    let isFull: Bool
    let only: String?
    let seed: UInt64

    private static let host = "disk"
    private static let some = ["disk full in the middle", "two applies at once, one data directory", "SIGINT in a step", "journal cut in half"]

    func run() throws {
        let world = try World("disk", hosts: [Self.host])
        defer { world.remove() }
        try world.lab("add", Self.host)
        var faults: [(String, () throws -> Trial)] = [
            ("disk full before", { try full(world, inTheMiddle: false) }), ("disk full in the middle", { try full(world, inTheMiddle: true) }),
            ("read-only data directory", { try readOnly(world) }), ("data directory removed in the middle", { try removed(world) }),
            ("two applies at once, one data directory", { try two(world, data: world.data) }),
            ("two applies at once, two data directories", { try two(world, data: "\(world.folder)/other") }),
        ]
        for (name, script) in Self.damages {
            faults.append(("journal \(name)", { try damaged(world, script) }))
        }
        for (name, offset) in [("a day back", "-86400"), ("a day ahead", "+86400")] {
            faults.append(("clock \(name) in the middle", { try clock(world, offset) }))
        }
        for (name, signals) in [("SIGINT", [SIGINT]), ("SIGTERM", [SIGTERM]), ("SIGINT twice", [SIGINT, SIGINT])] {
            for number in 0..<(isFull ? 15 : 2) {
                faults.append((name, { try signal(world, signals, number: number) }))
            }
        }
        faults.append(("SIGINT in a step", { try interrupted(world) }))
        for (name, fault) in faults where only.map(name.contains) ?? (isFull || Self.some.contains(name)) {
            try prepare(world)
            tally.add("disk", name, try fault(), reproduce: "--full --fault '\(name)'")
        }
        try world.lab("remove", Self.host)
    }

    /// A host that differs, a data directory that was used before.
    private func prepare(_ world: World) throws {
        try world.onAll(["reset"])
        try FileManager.default.createDirectory(atPath: world.data, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        try world.write(Specs.hosts(world.hosts) + Specs.promiscuous)
        let first = try world.plumb(world.apply())
        guard first.status == 0 else { throw LabFailure(description: "an undisturbed apply fails: \(first.said)") }
        try world.onAll(["reset", "drift"])
        try world.write(Specs.hosts(world.hosts) + Specs.promiscuous + Specs.leftovers + Specs.mtu(Self.host))
    }

    private func finish(_ world: World, _ trial: inout Trial) throws {
        try world.checkConverges(&trial)
        try world.checkNothingLeft(&trial, on: Self.host)
        let history = try world.plumb(["history", "--output", "json"])
        let isOver = history.document?["runs"]?.arrayValue?.allSatisfy { $0["outcome"]?.stringValue != nil }
        trial.check(isOver == true, "the journal is not in order: \(history.said)")
    }

    private func sh(_ script: String, _ arguments: String...) throws -> Outcome { try Child(["sh", "-ec", script, "sh"] + arguments).end() }

    // MARK: The disk

    private func full(_ world: World, inTheMiddle: Bool) throws -> Trial {
        var trial = Trial()
        let data = "\(world.folder)/small"
        guard try sh("mkdir -p \"$1\"; mount -t tmpfs -o size=24m,mode=0700 tmpfs \"$1\"", data).status == 0 else {
            throw LabFailure(description: "no small disk")
        }
        let fill = { try sh("dd if=/dev/zero of=\"$1/filler\" bs=4096 2>/dev/null || :", data) }
        if !inTheMiddle { _ = try fill() }
        let before = try world.state(of: Self.host)
        let child = try world.start(world.apply("--confirm-timeout", "20s"), data: data)
        if inTheMiddle {
            _ = child.waits { child.events.contains { $0.type == "started" } }
            _ = try fill()
        }
        let apply = child.end()
        checkTold(apply, &trial, says: inTheMiddle ? "disk is full" : "No space left")
        if !inTheMiddle { trial.check(try world.state(of: Self.host) == before, "something was changed") }
        for event in apply.events where event.type == "started" {
            let hasEnded = apply.events.contains { $0.address == event.address && ["succeeded", "failed", "rolledBack"].contains($0.type) }
            trial.check(hasEnded, "\(event.address) was started, and its end is not told")
        }
        _ = try sh("rm \"$1/filler\"", data)
        let next = try world.plumb(world.apply(), data: data)
        trial.check(next.status == 0, "with room again: \(next.said)")
        _ = try sh("umount -l \"$1\"", data)
        try finish(world, &trial)
        return trial
    }

    private func readOnly(_ world: World) throws -> Trial {
        var trial = Trial()
        _ = try sh("mount --bind \"$1\" \"$1\"; mount -o remount,bind,ro \"$1\"", world.data)
        let before = try world.state(of: Self.host)
        checkTold(try world.plumb(world.apply()), &trial, says: "Read-only")
        trial.check(try world.state(of: Self.host) == before, "something was changed")
        try world.checkPlan(&trial)
        _ = try sh("umount -l \"$1\"", world.data)
        try finish(world, &trial)
        return trial
    }

    private func removed(_ world: World) throws -> Trial {
        var trial = Trial()
        let child = try world.start(world.apply())
        _ = child.waits { child.events.contains { $0.type == "started" } }
        _ = try sh("rm -rf \"$1\"", world.data)
        let apply = child.end()
        // Where the kernel still lets it write to files that have no name any more, all may go well.
        if apply.status == 0 { trial.outcomes.append("succeeded") } else { checkTold(apply, &trial, says: "") }
        try finish(world, &trial)
        return trial
    }

    /// A problem that is said, by a process that ended by itself.
    private func checkTold(_ apply: Outcome, _ trial: inout Trial, says word: String) {
        trial.check(apply.status == 1, "status \(String(describing: apply.status)): \(apply.said)")
        trial.check(apply.errors.contains("error: ") && (word.isEmpty || apply.errors.contains(word)), "no reason with '\(word)': \(apply.said)")
        trial.outcomes.append("refused or stopped by name")
    }

    // MARK: The journal

    private static let damages = [
        ("cut in half", "size=$(stat -c %s \"$1\"); truncate -s $((size / 2)) \"$1\""), ("empty", ": >\"$1\""),
        ("with another head", "printf 'this is no database' | dd of=\"$1\" conv=notrunc 2>/dev/null"),
        ("with noise in it", "dd if=/dev/urandom of=\"$1\" bs=4096 seek=1 count=3 conv=notrunc 2>/dev/null"),
        ("a directory", "rm \"$1\"; mkdir \"$1\""), ("not readable as a journal of ours", "rm -f \"$1\"; head -c 20000 /dev/urandom >\"$1\""),
        ("with a noisy write-ahead log", "head -c 50000 /dev/urandom >\"$1-wal\""), ("without its write-ahead log", "rm -f \"$1-wal\" \"$1-shm\""),
    ]

    private func damaged(_ world: World, _ script: String) throws -> Trial {
        var trial = Trial()
        let journal = "\(world.data)/journal.sqlite"
        let damage = try sh(script, journal)
        guard damage.status == 0 else { throw LabFailure(description: "no damage: \(damage.said)") }
        try world.checkPlan(&trial)
        let apply = try world.plumb(world.apply())
        let history = try world.plumb(["history"])
        trial.check(history.status == 0 || history.status == 1 && history.errors.contains("error: "), "history: \(history.said)")
        if apply.status == 0 {
            trial.outcomes.append("went on")
        } else {
            checkTold(apply, &trial, says: "journal")
            // As the message says: out of the way with it.
            _ = try sh("mv \"$1\" \"$1.old\"; rm -f \"$1-wal\" \"$1-shm\"", journal)
        }
        try finish(world, &trial)
        _ = try sh("rm -rf \"$1\"", world.data)
        return trial
    }

    // MARK: Two at once

    private func two(_ world: World, data: String) throws -> Trial {
        var trial = Trial()
        // One is under way for as long as the gate is closed.
        try world.setGate(.step, on: Self.host)
        let first = try world.start(world.apply("--confirm-timeout", "20s"))
        trial.check(first.waits { world.isReached(Self.host) }, "the first does not start: \(first.errors)")
        let second = try world.start(world.apply("--confirm-timeout", "20s", "--timeout", "5s"), data: data)
        if data == world.data {
            // It has to hear of the other without waiting for it.
            let refused = second.end(limit: 60)
            checkTold(refused, &trial, says: "another apply is under way")
            trial.check(refused.events.isEmpty, "the second did something: \(refused.output)")
            try world.openGate(Self.host)
        } else {
            // Waits for the other or is refused, as the host's lock has it; both may be.
            _ = second.waits(limit: 8) { !second.isRunning }
            try world.openGate(Self.host)
            let other = second.end()
            trial.check(other.status == 0 || other.status == 1, "the second: \(other.said)")
            trial.outcomes.append("the second: status \(other.status ?? -1)")
        }
        let outcome = first.end()
        trial.check(outcome.status == 0, "the first: \(outcome.said)")
        try world.removeGate(Self.host)
        try finish(world, &trial)
        return trial
    }

    // MARK: Clock and signals

    private func clock(_ world: World, _ offset: String) throws -> Trial {
        var trial = Trial()
        var world = world
        let file = "\(world.folder)/clock"
        try Data("+0\n".utf8).write(to: URL(fileURLWithPath: file))
        let library = try sh("ls /usr/lib/*/faketime/libfaketimeMT.so.1").output.trimmingCharacters(in: .whitespacesAndNewlines)
        guard !library.isEmpty else { throw LabFailure(description: "libfaketime is missing: Tests/Lab/install gets it") }
        let plain = world.variables
        world.variables = [
            "LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": file, "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        ]
        let child = try world.start(world.apply("--confirm-timeout", "20s"))
        _ = child.waits { child.events.contains { $0.type == "started" } }
        try Data("\(offset)\n".utf8).write(to: URL(fileURLWithPath: file))
        let apply = child.end()
        trial.check(apply.status == 0, apply.said)
        trial.outcomes.append(apply.status == 0 ? "succeeded" : "failed")
        let history = try world.plumb(["history", "1", "--output", "json"])
        trial.check(history.status == 0, history.said)
        // Now what is in the journal is of tomorrow, or of yesterday.
        world.variables = plain
        try world.onAll(["reset", "drift"])
        try finish(world, &trial)
        let runs = try world.runs()
        trial.check(runs.compactMap { $0["id"]?.intValue } == runs.compactMap { $0["id"]?.intValue }.sorted(), "the runs are not in order")
        return trial
    }

    /// What is under way is finished, and nothing else is begun.
    private func interrupted(_ world: World) throws -> Trial {
        var trial = Trial()
        try world.setGate(.step, on: Self.host)
        let child = try world.start(world.apply("--confirm-timeout", "20s"))
        trial.check(child.waits { world.isReached(Self.host) }, "does not start: \(child.errors)")
        let started = child.events.filter { $0.type == "started" }.map(\.address)
        child.signal(SIGINT)
        trial.check(child.waits { child.errors.contains("finishing what is under way") }, "does not say that it heard: \(child.errors)")
        try world.openGate(Self.host)
        let apply = child.end()
        trial.check(apply.status == 1, "status \(String(describing: apply.status)): \(apply.said)")
        for event in apply.events {
            switch event.type {
            case "started": trial.check(started.contains(event.address), "\(event.address) was started after the interruption")
            case "planned":
                let end = apply.events.last { $0.address == event.address }?.type
                let expected = started.contains(event.address) ? "succeeded" : "skipped"
                trial.check(end == expected, "\(event.address) ended as \(end ?? "nothing"), not \(expected)")
            default: break
            }
        }
        trial.outcomes.append("finished what was under way, skipped the rest")
        try world.removeGate(Self.host)
        try world.checkJournal(&trial, pid: child.pid, events: apply.events, isOver: true)
        try finish(world, &trial)
        return trial
    }

    private func signal(_ world: World, _ signals: [Int32], number: Int) throws -> Trial {
        var trial = Trial()
        var random = SeededGenerator(seed: seed &+ UInt64(number))
        let child = try world.start(world.apply("--confirm-timeout", "3s"))
        if number % 3 == 0 {
            Thread.sleep(forTimeInterval: Double.random(in: 0..<1.5, using: &random))
        } else {
            _ = child.waits { child.output.contains(#""started""#) }
            Thread.sleep(forTimeInterval: Double.random(in: 0..<0.4, using: &random))
        }
        for signal in signals {
            child.signal(signal)
            Thread.sleep(forTimeInterval: Double.random(in: 0.01..<0.1, using: &random))
        }
        let apply = child.end(limit: 60)
        trial.check(apply.status != nil, "does not end")
        let ended = Set(apply.events.filter { ["succeeded", "failed", "skipped", "rolledBack"].contains($0.type) }.map(\.address))
        let isWhole = apply.events.contains { $0.type == "summary" }
        if isWhole {
            for event in apply.events where event.type == "planned" {
                trial.check(ended.contains(event.address), "\(event.address) has no end")
            }
            trial.outcomes.append(apply.status == 0 ? "was through already" : "finished what was under way")
        } else if apply.events.contains(where: { $0.type == "started" }) {
            trial.check(signals.count > 1, "one signal, and what was under way was not finished: \(apply.said)")
            trial.outcomes.append("stopped at once")
        } else {
            trial.outcomes.append("stopped before anything was done")
        }
        try world.checkJournal(&trial, pid: child.pid, events: apply.events, isOver: isWhole)
        try finish(world, &trial)
        return trial
    }
}
