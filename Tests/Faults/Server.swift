import Foundation
import Values

/// The API server, seen through a proxy that has its bad days, and one that ends in the middle.
struct ServerFaults: Sendable {
    let tally: Tally
    let isFull: Bool
    let only: String?

    private static let faults = [
        "401", "403", "409", "410", "429", "500", "502", "503", "504", "redirect", "reset", "close", "hang", "done-reset", "done-close", "done-hang",
        "done-500", "done-504", "truncated", "half-json", "short-length", "long-length", "slow", "trickle", "drop-idle", "garbage", "html", "empty",
        "null", "list", "other-object", "huge",
    ]
    private static let some = ["409", "429", "done-reset", "truncated", "html"]

    func run() throws {
        var world = try World("server", hosts: [])
        defer { world.remove() }
        let proxy = try Proxy(folder: "\(world.folder)/proxy", lab: world.lab)
        world.variables["KUBECONFIG"] = proxy.kubeconfig
        let chosen = isFull ? Self.faults : Self.some
        var round = 0
        try write(world, round: round)
        let first = try world.plumb(world.apply())
        guard first.status == 0 else { throw LabFailure(description: "an apply through the proxy fails: \(first.said)") }
        for fault in chosen where only.map(fault.contains) ?? true {
            for place in isFull ? ["read", "dry-run", "write"] : ["write"] {
                // Once, and for as long as it lasts.
                for times in isFull ? [1, 1_000_000] : [1] {
                    round += 1
                    let trial = try tryOut(fault, at: place, times: times, round: round, world: world, proxy: proxy)
                    tally.add("server", fault, trial, reproduce: "--full --fault \(fault)")
                }
            }
            if isFull { say("server: \(fault)") }
        }
        proxy.end()
        world.variables = [:]
        for verb in isFull ? ["restart", "stop"] : [] where only.map(verb.contains) ?? true {
            tally.add("server", "\(verb) in the middle", try endInTheMiddle(verb, world: world), reproduce: "--full --fault \(verb)")
        }
    }

    private static let names = ["one", "two"]

    private func write(_ world: World, round: Int, count: Int = 0) throws {
        var text = Specs.cluster + Specs.object("Namespace", "faults-server", namespace: nil, "")
        for name in Self.names + (0..<count).map({ "many-\($0)" }) {
            text += Specs.object("ConfigMap", name, namespace: "faults-server", "data: {round: \"\(round)\"}\n")
        }
        text += Specs.object("Secret", "secret", namespace: "faults-server", "stringData: {round: \"canary-\(round)-canary\"}\n")
        try world.write(String(text.dropFirst(4)))
    }

    private func tryOut(_ fault: String, at place: String, times: Int, round: Int, world: World, proxy: Proxy) throws -> Trial {
        var trial = Trial()
        try write(world, round: round)
        let before = try proxy.version()
        try proxy.set(fault, at: place, times: times)
        let child = try world.start(world.apply("--timeout", "3s"))
        let apply = child.end(limit: 90)
        try proxy.set("none", at: "nowhere", times: 0)
        let what = "\(place), \(times == 1 ? "once" : "always")"
        try judge(apply, in: world, round: round, proxy: proxy, trial: &trial, what: what)
        try world.checkJournal(&trial, pid: child.pid, events: apply.events, isOver: false)
        let next = try world.checkConverges(&trial)
        for name in Self.names {
            trial.check(try proxy.round(of: name) == "\(round)", "\(what): \(name) is not as declared in the end")
        }
        // Watched from before: each object was changed once, and nothing else at all.
        let changes = try proxy.changes(since: before)
        for (name, count) in changes {
            trial.check(count == 1, "\(what): \(name) was changed \(count) times")
            trial.check((Self.names + ["secret"]).contains(name), "\(what): \(name) was changed, which was not planned")
        }
        for text in [apply.output, apply.errors, next.output, next.errors] {
            for form in ["canary-", Data("canary-\(round)-canary".utf8).base64EncodedString(), proxy.token] {
                trial.check(!text.contains(form), "\(what): a secret is shown")
            }
        }
        return trial
    }

    /// What was said is what is so, and what went wrong has a name.
    private func judge(_ apply: Outcome, in world: World, round: Int, proxy: Proxy, trial: inout Trial, what: String) throws {
        trial.check(apply.status == 0 || apply.status == 1, "\(what): \(apply.said)")
        trial.check(!apply.output.contains("mistake in Plumb") && !apply.errors.contains("Fatal error"), "\(what): \(apply.said)")
        let events = apply.events
        for event in events where event.type == "succeeded" {
            guard let name = event.address.split(separator: "/").last, Self.names.contains(String(name)) else { continue }
            trial.check(try proxy.round(of: String(name)) == "\(round)", "\(what): \(event.address) is reported as succeeded and is not so")
        }
        if apply.status == 0 {
            for name in Self.names {
                trial.check(try proxy.round(of: name) == "\(round)", "\(what): status 0, and \(name) is not as declared")
            }
            trial.outcomes.append("succeeded")
            return
        }
        for event in events where ["failed", "skipped"].contains(event.type) {
            trial.check(event.message.count > 15, "\(what): \(event.address) \(event.type) without a reason: '\(event.message)'")
        }
        if events.contains(where: { $0.type == "failed" }) {
            trial.outcomes.append("failed by name")
        } else if events.contains(where: { $0.type == "skipped" }) {
            trial.outcomes.append("skipped by name")
        } else {
            // Problems of a plan are in the plan: with JSON lines only their count.
            let said = apply.output + apply.errors
            let isSaid = ["unreachable", "unknown", "problem"].contains { said.contains($0) }
            trial.check(isSaid, "\(what): no reason given: \(apply.said)")
            trial.outcomes.append("problem in the plan")
        }
    }

    private func endInTheMiddle(_ verb: String, world: World) throws -> Trial {
        var trial = Trial()
        try write(world, round: Int.random(in: 1_000...1_000_000), count: 150)
        let child = try world.start(world.apply("--timeout", "20s"))
        let isUnderWay = child.waits { child.events.contains { $0.type == "started" && $0.address.contains("ConfigMap") } }
        trial.check(isUnderWay, "nothing was started: \(child.output) \(child.errors)")
        try world.lab("api-server", verb)
        let apply = child.end(limit: 200)
        if verb == "stop" { try world.lab("api-server", "start") }
        trial.check(apply.status == 0 || apply.status == 1, apply.said)
        trial.outcomes.append(apply.status == 0 ? "succeeded" : "failed by name")
        try world.checkJournal(&trial, pid: child.pid, events: apply.events, isOver: false)
        try world.checkConverges(&trial)
        return trial
    }
}
