/*! ginsse 0.2.0 | MIT licence | https://github.com/ginsse/ginsse */
function n(t,e={}){throw new Error(`not written yet: ${t} ${String(e.share)}`)}export{n as connect};
//# sourceMappingURL=ginsse.js.map
