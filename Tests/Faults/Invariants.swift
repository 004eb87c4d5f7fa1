import Foundation
import Values

/// What has to be so whatever happened.
extension World {
    /// The world can be planned: all of it could be read.
    func checkPlan(_ trial: inout Trial) throws {
        let plan = try plumb(["plan", specs, "--output", "json"])
        trial.check(plan.status == 0 && plan.document?["planID"] != nil, "plan does not work afterwards: \(plan.said)")
    }

    /// The journal agrees with itself and with what was reported.
    ///
    /// - Parameters:
    ///   - pid: of the apply that `events` are from.
    ///   - isOver: another apply has begun since, so that every run has to have an end.
    func checkJournal(_ trial: inout Trial, pid: Int32, events: [Event], isOver: Bool) throws {
        let history = try plumb(["history", "--output", "json", "--limit", "1000"])
        guard history.status == 0, let runs = history.document?["runs"]?.arrayValue else {
            // Before the first run there is no journal, and that is said.
            trial.check(events.isEmpty, "history does not work afterwards: \(history.said)")
            return
        }
        for run in runs {
            let number = run["id"]?.intValue ?? 0
            let isOwn = run["pid"]?.intValue == Int64(pid)
            let outcome = run["outcome"]?.stringValue
            trial.check(outcome != nil || isOwn && !isOver, "run \(number) of the journal has no end")
            guard isOwn || number == runs.first?["id"]?.intValue else { continue }
            let actions = try actions(ofRun: number)
            for action in actions {
                let address = action["address"]?.stringValue ?? ""
                let hasStarted = action["started"]?.stringValue != nil
                let end = action["outcome"]?.stringValue
                if outcome != nil, hasStarted { trial.check(end != nil, "run \(number): \(address) was started and has no end") }
                if end == "succeeded" || end == "failed" { trial.check(hasStarted, "run \(number): \(address) has ended and was never started") }
                guard isOwn else { continue }
                for event in events where event.address == address {
                    switch event.type {
                    case "started": trial.check(hasStarted, "\(address) was started, and the journal does not know")
                    case "succeeded", "failed", "rolledBack":
                        trial.check(end == event.type, "\(address): reported \(event.type), the journal says \(end ?? "nothing")")
                    default: break
                    }
                }
            }
            if isOwn {
                let known = Set(actions.compactMap { $0["address"]?.stringValue })
                for event in events where ["planned", "started"].contains(event.type) {
                    trial.check(known.contains(event.address), "\(event.address) was \(event.type), and is not in the journal")
                }
            }
        }
        let own = runs.contains { $0["pid"]?.intValue == Int64(pid) }
        trial.check(own || !events.contains { $0.type == "started" }, "something was started, and the journal has no run of it")
    }

    /// Once the fault is over, one apply brings everything desired about, and nobody has to help.
    ///
    /// - Returns: that apply.
    @discardableResult
    func checkConverges(_ trial: inout Trial, _ more: [String] = []) throws -> Outcome {
        let next = try plumb(["apply", specs, "--yes", "--output", "jsonl", "--confirm-timeout", "20s"] + more)
        trial.check(next.status == 0, "the next apply does not converge: \(next.said)")
        let plan = try plumb(["plan", specs, "--detailed-exitcode", "--output", "json"])
        trial.check(plan.status == 0, "the plan after it is not clean: \(plan.said)")
        return next
    }

    /// No armed undo, no process of ours, and no session that outlived its connection: at once, or soon.
    ///
    /// - Parameter wasCutOff: The host has not heard of the connection's end. Then sshd's session with its idle shell lives until TCP notices, which
    ///   takes hours where nothing is sent; that is sshd's to settle (`ClientAliveInterval`).
    func checkNothingLeft(_ trial: inout Trial, on host: String, wasCutOff: Bool = false, within limit: Double = 20) throws {
        var left = ""
        let isClean = waitUntil(limit: limit, every: 0.1) {
            left = (try? on(host, Self.leftovers)) ?? "the host does not answer"
            if wasCutOff {
                left = left.split(separator: "\n").filter { !$0.contains(" sshd: ") && !$0.hasSuffix(" /bin/sh -s") }.joined(separator: "\n")
            }
            return left.isEmpty
        }
        trial.check(isClean, "left on \(host): \(left)")
    }

    /// A quiet host has sshd, and what the lab itself runs (the first process and its loop).
    private static let leftovers = """
        ls -A /run/plumb/undo 2>/dev/null; ls -A /tmp
        read -r server </run/lab/server
        ps -e -o pid=,ppid=,args= | while read -r pid parent command; do
            case "$pid $parent $command" in
            "1 "* | "$server "* | "$$ "* | *" $$ "*) ;;
            *) echo "$pid $parent $command" ;;
            esac
        done
        """
}
