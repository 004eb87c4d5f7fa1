import Foundation
import Glibc
import Kubernetes
import KubernetesAPI

/// `Elector KUBECONFIG NAMESPACE NAME IDENTITY`: takes part in an election, and would do nothing as leader. KubernetesTests kill it, stop it and cut it off.
///
/// `MILLISECONDS acts|rests`: when `isLeading` changed, on the machine's own clock; `MILLISECONDS leading|following|lost …`: what was told. An end of its
/// input gives the Lease back.
@main
struct Elector {
    static func main() async throws {
        let arguments = CommandLine.arguments
        let connection = try ClusterConnection(ClusterLogin(kubeconfig: arguments[1], context: "home"))
        let place = Lease.Place(namespace: arguments[2], name: arguments[3])
        let election = LeaderElection(at: place, identity: arguments[4]) { (request) throws(APIFailure) in try await connection.send(request) }
        let running = Task {
            await election.run { change in
                switch change {
                case .leading(let term): say("leading \(term)")
                case .following(let leader): say("following \(leader)")
                case .lost(let why): say("lost \(why)")
                }
            }
        }
        let watching = Thread {
            var acts = false
            while true {
                if election.isLeading != acts {
                    acts.toggle()
                    say(acts ? "acts" : "rests")
                }
                usleep(1000)
            }
        }
        watching.start()
        await withCheckedContinuation { continuation in
            Thread {
                while readLine() != nil {}
                continuation.resume()
            }.start()
        }
        running.cancel()
        await running.value
        await connection.close()
        say("done")
    }
}

private func say(_ text: String) {
    var time = timespec(tv_sec: 0, tv_nsec: 0)
    clock_gettime(CLOCK_MONOTONIC, &time)
    let line = Array("\(time.tv_sec * 1000 + time.tv_nsec / 1_000_000) \(text)\n".utf8)
    _ = line.withUnsafeBytes { write(1, $0.baseAddress, $0.count) }
}
