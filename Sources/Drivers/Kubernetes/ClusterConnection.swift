package import KubernetesAPI

/// Which API server is meant, and as whom.
package struct ClusterLogin: Hashable, Sendable {
    /// `--kubeconfig`; nil: `KUBECONFIG`, else `~/.kube/config`, else the pod's service account.
    package var kubeconfig: String?
    /// The kubeconfig context; nil: only right in a pod.
    package var context: String?
    /// For one request, retries included.
    package var timeout: Duration

    package init(kubeconfig: String? = nil, context: String? = nil, timeout: Duration = .seconds(30)) {
        self.kubeconfig = kubeconfig
        self.context = context
        self.timeout = timeout
    }
}

/// One API server: its connections, credentials and retries. `send` is all that others need of it.
package final class ClusterConnection: Sendable {
    /// Reads the configuration; connects when the first request is sent.
    package init(_ login: ClusterLogin) throws(APIFailure) {}

    package func send(_ request: APIRequest) async throws(APIFailure) -> APIResponse {
        throw APIFailure(.unreachable, "not there yet")
    }

    package func close() async {}
}
